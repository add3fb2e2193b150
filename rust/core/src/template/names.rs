//! Names of attributes that Python's values have, as far as the sandbox lets them through.

/// Methods of strings that do no harm.
pub const OF_STRINGS: [&str; 43] = [
    "capitalize",
    "casefold",
    "center",
    "count",
    "encode",
    "endswith",
    "expandtabs",
    "find",
    "format",
    "format_map",
    "index",
    "isalnum",
    "isalpha",
    "isascii",
    "isdecimal",
    "isdigit",
    "isidentifier",
    "islower",
    "isnumeric",
    "isprintable",
    "isspace",
    "istitle",
    "isupper",
    "join",
    "ljust",
    "lower",
    "lstrip",
    "partition",
    "removeprefix",
    "removesuffix",
    "replace",
    "rfind",
    "rindex",
    "rjust",
    "rpartition",
    "rsplit",
    "rstrip",
    "split",
    "splitlines",
    "startswith",
    "strip",
    "title",
    "upper",
];
/// Others of them, which no template has.
pub const OF_STRINGS_TOO: [&str; 4] = ["maketrans", "swapcase", "translate", "zfill"];
/// Methods of dicts that change nothing.
pub const OF_DICTS: [&str; 6] = ["copy", "fromkeys", "get", "items", "keys", "values"];
/// Those that change it: the sandbox gives something undefined for them.
pub const CHANGING_DICTS: [&str; 5] = ["clear", "pop", "popitem", "setdefault", "update"];
/// Methods of lists.
pub const OF_LISTS: [&str; 3] = ["copy", "count", "index"];
/// Those that change it.
pub const CHANGING_LISTS: [&str; 8] = ["append", "clear", "extend", "insert", "pop", "remove", "reverse", "sort"];
/// Attributes of numbers, which no template has.
pub const OF_NUMBERS: [&str; 14] = [
    "as_integer_ratio",
    "bit_count",
    "bit_length",
    "conjugate",
    "denominator",
    "from_bytes",
    "fromhex",
    "hex",
    "imag",
    "is_integer",
    "numerator",
    "real",
    "to_bytes",
    "from_number",
];

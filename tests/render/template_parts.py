"""What random templates are put together from: names, filters, methods, tests, as templates write them."""

from __future__ import annotations

LITERALS = ["'a'", "' '", "'\\n'", "''", "'user'", "'</think>'", "'<|im_end|>'", '"\'"', "'é'", "'<'", "'1'", "'%s'"]
COMPARED = ["==", "!=", "<", ">", "<=", ">=", "in", "not in"]
TESTS = [
    *("defined", "string", "none", "iterable", "mapping", "sequence", "undefined", "false", "true", "boolean"),
    *("number", "integer", "float", "callable", "odd", "even", "upper", "lower", "escaped", "eq(word)", "ne(none)"),
    *("lt(2)", "ge(word)", "in(letters)", "in([1, none])", "divisibleby(2)", "sameas(none)"),
]
TEXT_FILTERS = [
    *("trim", "upper", "lower", "string", "title", "capitalize", "safe", "e", "escape", "default('d')", "tojson"),
    *("default('d', true)", "replace('a', 'bb')", "replace(word, other)", "trim('a \\n')", "indent(2)", "reverse"),
    *("indent(2, first=True)", "list | join", "first", "last", "forceescape", "format(word)", "center(9)"),
    *("string | length", "wordcount", "count", "min", "max", "list | unique | join", "replace('', word)"),
    *("replace('a', '', 1)", "d(word)"),
]
METHODS = [
    *("strip()", "lstrip()", "rstrip()", "strip('a ')", "lstrip('\\n')", "rstrip(word)", "upper()", "lower()"),
    *("title()", "capitalize()", "replace('a', 'bb')", "replace(other, '')", "replace('', '-', 2)", "split('a')[0]"),
    *("split(' ')[-1]", "split('</think>')[-1]", "split() | join('_')", "rsplit(' ', 1)[0]"),
    *("splitlines() | join('|')", "partition('a')[2]", "removeprefix('a')", "removesuffix('\\n')", "split(word)[0]"),
    *("format(other)", "zfill(4)", "join(letters)", "rpartition('a')[0]", "casefold()", "find('a')", "rfind(word)"),
    *("count('a')", "index('a')", "isdigit()", "isspace()", "isupper()", "isalnum()", "split('a', 1)[-1]"),
    *("split(none, 1)[0]", "splitlines(true) | join", "rsplit() | join"),
]
SLICES = ["1:", ":-1", "::-1", "-2:", ":2", "1:3", "::2", "2:0:-1", ":", "0", "-1", "1", "number:", ":word | length"]
JSON = [
    *("tojson", "tojson(indent=4)", "tojson(ensure_ascii=False)", "tojson(ensure_ascii=True)", "tojson(indent=2)"),
    *("tojson(separators=(',', ':'))", "tojson(sort_keys=true)", "string", "tojson(indent=0)"),
]
LIST_FILTERS = [
    *("list", "reverse | list", "map('upper') | list", "map('trim') | list", "select('string') | list"),
    *("unique | list", "map(attribute='text') | list", "map(attribute='role')"),
    *("selectattr('role', 'equalto', 'user') | list", "rejectattr('role', 'equalto', 'tool')"),
    *("selectattr('type', 'defined')", "reject('equalto', word) | list", "sort", "map('string') | sort"),
    *("selectattr('text', 'defined') | map(attribute='text') | list", "reject('none') | list"),
    *("selectattr('tool_calls', 'undefined') | list", "batch(2) | list", "map('tojson') | list"),
    *("sort(attribute='type')", "sort(reverse=true)", "sort(case_sensitive=true)", "unique(attribute='type') | list"),
    *("map('default', word) | list", "map(attribute='a', default='d') | list", "select('in', letters) | list"),
    *("selectattr('a') | list", "map('list')", "rejectattr('text', 'none') | list", "select | list"),
    *("map('first') | list", "map('length') | list", "unique"),
]
OF_LISTS = ["first", "last", "min", "max", "sum", "join(', ', attribute='role')", "join(word)", "count", "string"]
LOOP_TEXTS = ["loop.cycle('a', word)", "loop.changed(word)"]
LOOP = ["index", "index0", "revindex", "revindex0", "length", "depth", "depth0"]
LOOP_FLAGS = [
    *("loop.first", "loop.last", "loop.previtem", "loop.nextitem", "loop.changed(number)"),
    *("loop.previtem is defined",),
]
VIEWS = [
    *("{'a': word}.items()", "{'a': word, 'b': none}.keys()", "{'a': word}.values()", "dict(nested).keys()"),
    *("nested.keys()", "nested.items()", "messages[0].keys()", "messages[-1].items()"),
]
LOOKED_UP = ["a", "name", "items", "get", "type", "text", "role", "content", "x y", "tool_calls", "extra"]

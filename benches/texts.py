"""Kinds of text to tokenize, cut into pieces that are all different: code, prose, CJK, emoji.

Nothing is downloaded. *Code* is the sources of Python's own library. *Prose* is the paragraphs of this project's docs,
of Python's language reference (``pydoc_data.topics``) and of docstrings of Python's library, each once. *CJK* and
*emoji* are made of the words in the tables below, by random numbers with a fixed seed: Chinese, Japanese and Korean
sentences in turn, and English chat with emoji of several code points (skin tones, families, flags, keycaps).
"""

from __future__ import annotations

import ast
import re
import sysconfig
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import count, islice
from pathlib import Path
from pydoc_data import topics
from random import Random
from typing import Any

from inputs import REPOSITORY

# Of a piece, in UTF-8.
PIECE_BYTES = 64_000

# Words, with blanks between them.
_CHINESE = (
    "我们 你们 他们 今天 明天 昨天 早上 晚上 已经 还没有 正在 可以 必须 应该 觉得 知道 希望 喜欢 "
    "学习 工作 旅行 航班 行李 机票 座位 退款 订单 客户 服务 系统 模型 数据 程序 问题 答案 "
    "老师 学生 朋友 医生 城市 天气 火车 车站 图书馆 电脑 手机 音乐 电影 历史 文化 经济 "
    "非常 比较 一点 所有 每个 许多 这个 那个 因为 所以 但是 如果 然后 而且 需要 确认 修改 取消 检查 解释"
)
_JAPANESE = (
    "私は あなたは 彼女は 今日は 明日の 昨日から 朝の 夜に 東京で 大阪まで 電車が 空港へ 飛行機の 予約を 変更 "
    "キャンセル お客様 サービス システム モデル データ プログラム コンピューター 言語 学習 質問に 答えを 先生と 学生が "
    "友達も 天気が 図書館で 音楽を 映画は 歴史と 文化の とても 少し すべての それから しかし もし だから 行きます "
    "食べました 読んでいます 考える 思います わかりました ください できません 必要です 確認して 説明した 新しい 大きな"
)
_KOREAN = (
    "저는 우리는 그들은 오늘은 내일 어제 아침에 저녁까지 서울에서 부산으로 기차가 공항에 비행기를 예약을 변경하고 "
    "취소했습니다 고객님 서비스 시스템은 모델을 데이터 프로그램이 컴퓨터 언어 학습 질문에 대답을 선생님과 학생들이 "
    "친구도 날씨가 도서관에서 음악을 영화는 역사와 문화의 매우 조금 모든 그리고 하지만 만약 그래서 갑니다 "
    "먹었습니다 읽고 있습니다 생각합니다 알겠습니다 주세요 필요합니다 확인해 설명했다 새로운 커다란"
)
_ENGLISH = (
    "ok so we just landed and the gate agent said that our bags are on the next flight maybe tonight could you check "
    "again please thanks a lot really love this new place great food but it was raining all day tomorrow morning "
    "then see you at seven no worries happy birthday well done everyone good luck with the exam what a match sorry"
)
_EMOJI = (
    "😀 😂 🤣 😊 😍 🥰 😭 😅 🤔 🙄 😴 🤯 🥳 😎 👍 👍🏽 👏🏿 🙏🏻 💪🏾 ✌️ ❤️ 💔 🔥 ✨ 🎉 🎂 🚀 ✈️ 🧳 ☀️ 🌧️ ⚡ "
    "👩‍🚀 👨🏽‍💻 👩‍👩‍👧‍👦 🧑🏻‍🤝‍🧑🏿 🏳️‍🌈 🏴‍☠️ 🇯🇵 🇧🇷 🇩🇪 1️⃣ #️⃣ ✅ ❌ ⏰ 📎 📈 🍕 🍜 🐶 🦖 🤷‍♀️ 🤦🏼‍♂️"
)


def kinds() -> dict[str, Callable[[], Iterator[str]]]:
    """For each kind its pieces, without an end where they are made of words."""
    return {
        "code": lambda: _cut(_sources()),
        "prose": lambda: _cut(_paragraphs()),
        "CJK": lambda: _cut(map(_cjk, count())),
        "emoji": lambda: _cut(map(_chat_with_emoji, count())),
    }


def pieces(kind: str, most: int) -> list[str]:
    """Up to so many pieces of a kind."""
    return list(islice(kinds()[kind](), most))


def _cut(parts: Iterator[str]) -> Iterator[str]:
    """Parts, joined to pieces of at least ``PIECE_BYTES``; the rest is left out."""
    piece: list[str] = []
    size = 0
    for part in parts:
        piece.append(part)
        size += len(part.encode())
        if size >= PIECE_BYTES:
            yield "".join(piece)
            piece, size = [], 0


def _library() -> Iterator[str]:
    """The sources of Python's library, without its tests and what is installed beside it."""
    root = Path(sysconfig.get_paths()["stdlib"])
    for path in sorted(root.rglob("*.py")):
        if not {"site-packages", "dist-packages", "test", "tests", "pydoc_data"} & set(path.relative_to(root).parts):
            yield path.read_text(encoding="utf-8", errors="replace")


def _sources() -> Iterator[str]:
    for source in _library():
        # Line by line, so that a long file is not one piece.
        yield from source.splitlines(keepends=True)


def _paragraphs() -> Iterator[str]:
    """Paragraphs that are prose, in one line each."""
    seen = set()
    pages = (path.read_text(encoding="utf-8") for path in sorted(REPOSITORY.glob("docs/*.md")))
    without_code = (re.sub(r"^```.*?^```", "", page, flags=re.DOTALL | re.MULTILINE) for page in pages)
    of_python: Any = topics.topics
    for text in (*without_code, *(of_python[name] for name in sorted(of_python)), *_docstrings()):
        for paragraph in re.split(r"\n\s*\n", text):
            line = " ".join(paragraph.split())
            letters = sum(each.isalpha() for each in line)
            if len(line) >= 80 and letters > 0.7 * len(line) and "|" not in line and line not in seen:
                seen.add(line)
                yield f"{line}\n\n"


def _docstrings() -> Iterator[str]:
    for source in _library():
        try:
            tree = ast.parse(source)
        except SyntaxError:
            continue
        for node in ast.walk(tree):
            if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
                yield ast.get_docstring(node) or ""


def _cjk(index: int) -> str:
    """A paragraph in one of the three languages."""
    write = (
        partial(_sentence, words=_CHINESE.split(), between="", comma="，", stop="。"),
        partial(_sentence, words=_JAPANESE.split(), between="", comma="、", stop="。"),
        partial(_sentence, words=_KOREAN.split(), between=" ", comma=", ", stop=". "),
    )[index % 3]
    random = Random(index)
    return "".join(write(random) for _ in range(random.randint(2, 6))) + "\n"


def _sentence(random: Random, *, words: Sequence[str], between: str, comma: str, stop: str) -> str:
    chosen = random.choices(words, k=random.randint(5, 14))
    if random.random() < 0.2:
        chosen.insert(random.randrange(len(chosen)), str(random.randint(2, 2999)))
    middle = random.randint(2, len(chosen) - 1)
    return f"{between.join(chosen[:middle])}{comma}{between.join(chosen[middle:])}{stop}"


def _chat_with_emoji(index: int) -> str:
    """A line of a chat."""
    random = Random(index)
    words = random.choices(_ENGLISH.split(), k=random.randint(3, 16))
    for _ in range(random.randint(1, 4)):
        words.insert(random.randint(1, len(words)), random.choice(_EMOJI.split()) * random.choice((1, 1, 1, 2, 3)))
    return " ".join(words) + random.choice(("", ".", "!", "?", "!!", "…")) + "\n"

"""Attribution finds every longest span, as trying everything does, and traces its very tokens."""

import random

import pytest

from llmjp_jax.errors import UserError
from llmjp_jax.search import Where
from llmjp_jax.search.attribution import LONGEST_TEXT, MINIMUM, attribute, read_text
from llmjp_jax.search.trace import Seen
from tests.search import brute_force

NOT_THERE = "ゑこのぶんしょうはどこにもそんざいしませんゑ"
NUMBER, LONG = 1701, "子宮内膜炎は、細菌が子宮内に入り、内膜に炎症を起す病気である。"  # of ja/train


class Trace:
    """Stands for a run that saw every document once, in the row of its number; it keeps what it was asked."""

    trained_steps = 2000

    def __init__(self):
        self.asked, self.checked = [], None

    def check_stores(self, stores):
        self.checked = stores

    def seen(self, document, start=0, stop=None):
        self.asked.append((document, start, stop))
        return [Seen(document.number, 3, 0, start, stop)]


def size(text):
    return len("".join(c for c in text if c.isalnum()).encode())


def every_span(text, data, minimum):
    """(start, stop) of each span, by trying each stretch from the longest on. `data`: the corpus as it is searched."""
    ends = []
    for start in range(len(text)):
        low = (
            ends[-1] if ends and ends[-1] > start else start
        )  # a part of what stands there stands there
        while low < len(text) and data.find(text[start : low + 1].encode()):
            low += 1
        ends.append(low)
    return [
        (start, end)
        for start, end in enumerate(ends)
        if end > start
        and (start == 0 or end > ends[start - 1])
        and size(text[start:end]) >= minimum
    ]


def mixed(choose, texts):
    """A text of pieces of documents, of changed ones and of words that are nowhere."""
    pieces = []
    for _ in range(choose.randint(1, 6)):
        document = choose.choice([text for text in texts if len(text) > 3])
        start = choose.randrange(len(document))
        piece = document[start : start + choose.randint(1, 60)]
        if choose.random() < 0.3:
            place = choose.randrange(len(piece))
            piece = piece[:place] + choose.choice("x猫 。") + piece[place + 1 :]
        pieces += [piece, choose.choice(["", "", "\n", NOT_THERE[1 : choose.randint(2, 9)]])]
    return "".join(pieces)


def test_spans_and_counts_equal_those_found_by_trying_every_stretch(small_corpora, small_index):
    choose = random.Random(0)
    texts = [text for some in small_corpora.texts.values() for text in some]
    data = brute_force.joined_texts(texts)
    overlapping = 0
    for _ in range(25):
        text, minimum = mixed(choose, choose.choice(list(small_corpora.texts.values()))), choose.choice([1, 9, 15, 30])  # fmt: skip
        found = attribute(text, small_index, minimum=minimum, documents=2)
        places = sorted((span.start, span.stop) for span in found.spans)
        assert places == every_span(text, data, minimum), text
        for span in found.spans:
            expected = data.find(span.text.encode())
            assert span.text == text[span.start : span.stop] and span.size == size(span.text)
            assert span.counts == brute_force.counts(expected)
            assert len(span.documents) == min(2, len(expected))
        covered = {place for span in found.spans for place in range(span.start, span.stop)}
        assert found.covered == pytest.approx(len(covered) / len(text))
        overlapping += any(a[1] > b[0] for a, b in zip(places, places[1:], strict=False))
    assert overlapping > 5


def test_spans_are_ranked_by_size_and_then_by_how_few_documents_hold_them(small_corpora, small_index):  # fmt: skip
    choose = random.Random(1)
    several = ties = 0
    for texts in [*small_corpora.texts.values()] * 5:
        found = attribute(mixed(choose, texts) * 2, small_index, minimum=6).spans
        ranks = [(-span.size, span.counts.documents, span.start) for span in found]
        assert ranks == sorted(ranks)
        several += len(found) > 1
        ties += len({rank[0] for rank in ranks}) < len(ranks)
    assert several > 10 and ties > 5


def test_a_documents_hit_says_where_it_stands_and_under_which_licence(small_corpora, small_index):
    text = LONG
    (span,) = attribute(f"{NOT_THERE}{text}", small_index, documents=9).spans[:1]
    assert (span.start, span.stop, span.text) == (len(NOT_THERE), len(NOT_THERE) + len(text), text)
    (hit,) = [hit for hit in span.hits if hit.document == ("ja", "train", NUMBER)]
    assert (hit.start, hit.match, hit.licence) == (0, text, "CC-ja")
    assert f"ja/{NUMBER}; train.jsonl, line {NUMBER + 1}" in hit.source


def test_only_the_stores_asked_for_are_looked_into(small_corpora, small_index):
    text = LONG
    assert attribute(text, small_index, where=Where(subsets=("ja",))).covered == 1
    assert attribute(text, small_index, where=Where(subsets=("en",))).spans == ()
    (span,) = attribute("です", small_index, where=Where(("ja",), ("train",)), minimum=6).spans
    texts = [text.count("です") for text in small_corpora.texts["ja", "train"]]
    assert span.counts == (sum(map(bool, texts)), sum(texts)) < small_index.count_text("です")
    with pytest.raises(UserError, match="no subset 'js'"):
        attribute(text, small_index, where=Where(subsets=("js",)))


@pytest.mark.parametrize(
    "text", ["\n" * 60, "        " * 9, "。、！？「」…" * 9, "=====" * 9, "👩‍👩‍👧" * 9]
)
def test_white_space_and_punctuation_alone_are_no_span(small_index, text):
    (line,) = [line for line in ["        "] if small_index.contains_text(line)]
    assert attribute(text + line * 5, small_index).spans == ()
    assert attribute(text + line * 5, small_index, minimum=1).spans == ()


def test_a_span_has_as_many_bytes_of_letters_as_were_asked_for(small_index):
    def found(text, **options):
        return [span.text for span in attribute(text, small_index, **options).spans]

    ten, thirty = "東京都京都府東京都京", "alert'x'/script img src=x onerror=alert(1)"
    assert size(ten) == MINIMUM == 30
    assert found(f"ゑ{ten}ゑ") == [ten] and found(f"ゑ{ten[1:]}ゑ") == []
    assert found(f"ゑ{ten[1:]}ゑ", minimum=27) == [ten[1:]]
    planted = "<script>alert('x')</script><img src=x onerror=alert(1)>"
    assert size(planted) < len(planted) and found(planted, minimum=size(planted)) == [planted]
    assert found(planted, minimum=size(planted) + 1) == [] and found(thirty) == []


def test_steps_are_those_of_the_spans_very_tokens(small_corpora, small_index):
    choose, trace, checked = random.Random(2), Trace(), 0
    for texts in small_corpora.texts.values():
        found = attribute(mixed(choose, texts), small_index, trace=trace, minimum=9)
        assert found.trained_steps == 2000
        for span in found.spans:
            for document in span.documents:
                whole = small_index.document(document.hit.document)
                first, stop = document.tokens
                held = small_index.vocabulary.decode(whole.tokens[first:stop])
                assert span.text in held or span.text == held.lstrip() or "\ufffd" in held
                inner = small_index.vocabulary.decode(whole.tokens[first + 1 : stop - 1])
                assert span.text not in inner and not document.whole
                assert document.steps == (Seen(whole.id.number, 3, 0, first, stop),)
                assert (whole.id, first, stop) in trace.asked
                checked += 1
            assert [seen.step for seen in span.steps] == sorted(
                document.hit.document.number for document in span.documents
            )
    assert checked > 10 and trace.checked is small_index.stores


def test_without_a_trace_nothing_is_said_of_steps(small_corpora, small_index):
    found = attribute(LONG, small_index)
    (document, *_) = found.spans[0].documents
    assert found.trained_steps is None and document.tokens is None and found.spans[0].steps == ()


def test_a_trace_of_other_stores_is_refused(small_index):
    class Other(Trace):
        def check_stores(self, stores):
            raise UserError("the index has another store")

    with pytest.raises(UserError, match="another store"):
        attribute(NOT_THERE, small_index, trace=Other())


def test_documents_that_repeat_themselves_are_asked_for_once(small_corpora, small_index, monkeypatch):  # fmt: skip
    asked = []
    find, contains = type(small_index).find_text, type(small_index).contains_text
    monkeypatch.setattr(type(small_index), "find_text", lambda self, *a, **k: asked.append(a) or find(self, *a, **k))  # fmt: skip
    monkeypatch.setattr(type(small_index), "contains_text", lambda self, *a: asked.append(a) or contains(self, *a))  # fmt: skip
    text = LONG + NOT_THERE
    once = attribute(text, small_index).spans
    first = len(asked)
    asked.clear()
    assert len(attribute(text * 30, small_index).spans) == 30 * len(once)
    assert first <= len(asked) < 3 * first


@pytest.mark.parametrize(
    "text, options, message",
    [
        ("", {}, "the text is empty; give one"),
        ("あ" * (LONGEST_TEXT + 1), {}, "100,001 characters, and 100,000 are the most"),
        ("ab\ud83d", {}, r"half a character \(a lone surrogate\) at 2"),
        ("a", {"minimum": 0}, "at least 1 byte, not 0"),
        ("a", {"documents": -1}, "-1 documents cannot be named"),
    ],
)
def test_what_cannot_be_attributed_is_refused_in_a_sentence(small_index, text, options, message):
    with pytest.raises(UserError, match=message):
        attribute(text, small_index, **options)


def test_a_file_is_read_as_it_is(tmp_path):
    path = tmp_path / "text.txt"
    path.write_bytes("一行目\r\n\u3000二行目\n".encode())
    assert read_text(path) == "一行目\r\n\u3000二行目\n"


def test_a_file_that_cannot_be_read_is_refused_in_a_sentence(tmp_path):
    with pytest.raises(UserError, match="there is no file"):
        read_text(tmp_path / "absent.txt")
    with pytest.raises(UserError, match="there is no file"):
        read_text(tmp_path)
    (tmp_path / "empty.txt").touch()
    with pytest.raises(UserError, match="empty.txt is empty"):
        read_text(tmp_path / "empty.txt")
    (tmp_path / "long.txt").write_bytes(b"a" * (4 * LONGEST_TEXT + 1))
    with pytest.raises(UserError, match=r"long.txt has more than the 100,000 characters"):
        read_text(tmp_path / "long.txt")
    (tmp_path / "latin.txt").write_bytes(b"caf\xe9")
    with pytest.raises(UserError, match=r"latin.txt is not UTF-8 \(byte 3\)"):
        read_text(tmp_path / "latin.txt")


def test_a_file_of_somebody_else_is_refused_in_a_sentence(tmp_path, monkeypatch):
    (tmp_path / "text.txt").write_text("a")
    monkeypatch.setattr(type(tmp_path), "read_bytes", lambda self: (self / "x").stat())
    with pytest.raises(UserError, match="text.txt cannot be read: Not a directory"):
        read_text(tmp_path / "text.txt")

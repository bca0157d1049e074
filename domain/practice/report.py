# ruff: noqa: RUF001 - Chinese and Japanese are written with full-width punctuation.
"""After the scene: what was reached, what went well, what to work on, and what to practise next.

The score, 0 to 100, is what the learner came for and how they put it: 70 points by the share of the success criteria that they met, 30 for
the language, of which ten mistakes in a hundred words leave nothing, and answers of hardly any words earn no share.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from typing import Annotated, Literal, get_args
from uuid import UUID

import msgspec

from domain.practice.coach import Kind, Language, Sentences, Span, checked, corrected, explained_in
from domain.practice.scenario import LEAST_WORDS, LEVELS, Criterion, Range, Scenario, normal, saying, says
from domain.practice.scripts import met_criteria

MOST_POINTS = 3
MOST_RECOMMENDED = 3
GOOD_SCORE = 80
POOR_SCORE = 40
_FOR_GOAL, _FOR_LANGUAGE = 70, 30
_MISTAKES_FOR_NOTHING = 10
# A single slip in a scene of few words must not cost half of the points.
_LEAST_COUNTED = 50
_LONGEST_QUOTE = 200
_ENOUGH_WORDS = 8

Reason = Literal["same_situation_again", "same_partner", "harder", "easier", "next", "once_more"]
"""Why a scenario is recommended. `once_more` is the one just practised, when there is no other."""


class Said(msgspec.Struct, frozen=True, kw_only=True):
    """A turn of the learner. `example` is what a good learner might have said there."""

    turn: UUID
    text: str
    spans: tuple[Span, ...]
    example: str | None = None


class Point(msgspec.Struct, frozen=True, kw_only=True):
    """`quote` is an exact part of what was said in `turn`; `text` is in the explanation language, `better` in English."""

    turn: UUID
    quote: Annotated[str, msgspec.Meta(examples=["I need an information about the rate."])]
    text: Annotated[str, msgspec.Meta(examples=["Uncountable nouns. This noun cannot be counted in English."])]
    better: Annotated[str, msgspec.Meta(examples=["I need a piece of information about the rate."])] | None = None


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """`met` and `missed` are ids of success criteria; the goal is reached when all are met. At most three points each."""

    goal_reached: bool
    score: int
    met: Annotated[tuple[str, ...], msgspec.Meta(examples=[["offer"]])]
    missed: Annotated[tuple[str, ...], msgspec.Meta(examples=[["deadline"]])]
    went_well: tuple[Point, ...]
    to_work_on: tuple[Point, ...]


class Recommendation(msgspec.Struct, frozen=True, kw_only=True):
    """`detail` is the reason in the explanation language."""

    scenario: UUID
    reason: Reason
    detail: Annotated[str, msgspec.Meta(examples=["The same kind of partner, in another situation."])]


class Candidate(msgspec.Struct, frozen=True, kw_only=True):
    """A scenario that could be practised next; `done`: the learner has been to the end of it."""

    id: UUID
    slug: str
    industry: str | None
    situation: str | None
    partner: str | None
    cefr: Range
    done: bool


def write_report(scenario: Scenario, said: Sequence[Said], language: str) -> Report:
    """In the language with this BCP 47 tag, or in the nearest that we have; what the coach said stays in the language it was said in."""
    told = [msgspec.structs.replace(one, spans=checked(one.text, one.spans)) for one in said if one.text.strip()]
    met = met_criteria(scenario, [one.text for one in told])
    missed = tuple(criterion.id for criterion in scenario.success_criteria if criterion.id not in met)
    tongue = explained_in(language)
    return Report(
        goal_reached=not missed,
        score=_score(len(met) / len(scenario.success_criteria), told),
        met=met,
        missed=missed,
        went_well=_went_well(scenario, told, tongue),
        to_work_on=_to_work_on(scenario, told, missed, tongue),
    )


def _words(text: str) -> int:
    return len(normal(text).split())


def _score(met: float, told: Sequence[Said]) -> int:
    if not told:
        return 0
    mistakes = sum(len(one.spans) for one in told)
    rate = mistakes * 100 / max(sum(_words(one.text) for one in told), _LEAST_COUNTED)
    answered = sum(_words(one.text) >= LEAST_WORDS for one in told) / len(told)
    return round(_FOR_GOAL * met + _FOR_LANGUAGE * answered * max(0.0, 1 - rate / _MISTAKES_FOR_NOTHING))


def _quote(text: str) -> str:
    """The text, or as many whole words of its beginning as a quotation may have."""
    whole = text.strip()
    if len(whole) <= _LONGEST_QUOTE:
        return whole
    return whole[:_LONGEST_QUOTE].rpartition(" ")[0].rstrip() or whole[:_LONGEST_QUOTE]


# ---------------------------------------------------------------------- what went well


def _went_well(scenario: Scenario, told: Sequence[Said], language: Language) -> tuple[Point, ...]:
    criteria = [*_reached(scenario.success_criteria, told, language)]
    others = [*_phrases(scenario.useful_phrases, told, language), *_flawless(told, language)]
    return tuple([*criteria[:2], *others, *criteria[2:]][:MOST_POINTS])


def _reached(criteria: Sequence[Criterion], told: Sequence[Said], language: Language) -> Iterator[Point]:
    for criterion in criteria:
        first = next((one for one in told if says(one.text, criterion.any)), None)
        if first is not None:
            text = _TEXTS["met"][language].format(criterion=criterion.text.rstrip(". "))
            yield Point(turn=first.turn, quote=_saying(first.text, criterion.any), text=text)


def _saying(text: str, phrases: tuple[str, ...]) -> str:
    """The sentence that has one of the phrases; the text when none has it alone."""
    short = (one for one in Sentences(text) if len(one) <= _LONGEST_QUOTE)
    return _quote(next(filter(saying(phrases), short), text))


def _phrases(phrases: Sequence[str], told: Sequence[Said], language: Language) -> Iterator[Point]:
    """One at most."""
    for one in told:
        used = next((phrase for phrase in phrases if says(one.text, (phrase,))), None)
        if used is not None:
            yield Point(turn=one.turn, quote=_saying(one.text, (used,)), text=_TEXTS["phrase"][language].format(phrase=used))
            return


def _flawless(told: Sequence[Said], language: Language) -> Iterator[Point]:
    """The longest answer in which nothing was found, if it is long enough to say anything."""
    clean = [one for one in told if not one.spans and _words(one.text) >= _ENOUGH_WORDS]
    if clean:
        longest = max(clean, key=lambda one: _words(one.text))
        yield Point(turn=longest.turn, quote=_quote(longest.text), text=_TEXTS["flawless"][language])


# ---------------------------------------------------------------------- what to work on


def _to_work_on(scenario: Scenario, told: Sequence[Said], missed: Sequence[str], language: Language) -> tuple[Point, ...]:
    """The two commonest kinds of mistake leave room for what is missing of the goal; what else there is fills up."""
    mistakes = [*_mistakes(told, language)]
    missing = [*_missing(scenario, told, missed, language)]
    points = [*mistakes[:2], *missing, *mistakes[2:]]
    quoted = {point.turn for point in points[:MOST_POINTS]}
    rest = [one for one in told if one.turn not in quoted]
    return tuple(chain(points, _short(rest, language), _astray(scenario, rest, language)))[:MOST_POINTS]


def _mistakes(told: Sequence[Said], language: Language) -> Iterator[Point]:
    """A point for each kind, the most frequent first; of those that are equally frequent, the earlier."""
    count: Counter[Kind] = Counter(span.kind for one in told for span in one.spans)
    for kind, times in count.most_common():
        one, span = next((one, span) for one in told for span in one.spans if span.kind == kind)
        start, end = Sentences(one.text).around(span.start)
        if start > span.start or end < span.end or end - start > _LONGEST_QUOTE:
            start, end = span.start, span.end
        within = [
            msgspec.structs.replace(other, start=other.start - start, end=other.end - start)
            for other in one.spans
            if start <= other.start and other.end <= end
        ]
        quote = one.text[start:end]
        name = _KINDS[kind][language] + (f" (×{times})" if times > 1 else "")
        text = _TEXTS["mistake"][language].format(kind=name, explanation=span.explanation)
        yield Point(turn=one.turn, quote=quote, text=text, better=corrected(quote, within))


def _missing(scenario: Scenario, told: Sequence[Said], missed: Sequence[str], language: Language) -> Iterator[Point]:
    """With the answer in whose place it could have been said, else with the shortest that is not quoted yet."""
    quoted: set[UUID] = set()
    for criterion in scenario.success_criteria:
        if criterion.id in missed and told:
            there = [one for one in told if one.example is not None and says(one.example, criterion.any)]
            near = there or sorted(told, key=lambda one: _words(one.text))
            near = [one for one in near if one.turn not in quoted] or near
            quoted.add(near[0].turn)
            better = near[0].example if there else _example(scenario, criterion)
            text = _TEXTS["missed"][language].format(criterion=criterion.text.rstrip(". "))
            yield Point(turn=near[0].turn, quote=_quote(near[0].text), text=text, better=better)


def _example(scenario: Scenario, criterion: Criterion) -> str | None:
    script = scenario.script
    examples = () if script is None else (*(beat.example for beat in script.beats), script.closing.example)
    return next((example for example in examples if says(example, criterion.any)), None)


def _short(told: Sequence[Said], language: Language) -> Iterator[Point]:
    for one in told:
        if _words(one.text) < LEAST_WORDS:
            yield Point(turn=one.turn, quote=_quote(one.text), text=_TEXTS["short"][language], better=one.example)


def _astray(scenario: Scenario, told: Sequence[Said], language: Language) -> Iterator[Point]:
    expected = {beat.example: beat.expects for beat in scenario.script.beats} if scenario.script is not None else {}
    for one in told:
        expects = expected.get(one.example) if one.example is not None else None
        if expects is not None and _words(one.text) >= LEAST_WORDS and not says(one.text, expects):
            yield Point(turn=one.turn, quote=_quote(one.text), text=_TEXTS["astray"][language], better=one.example)


# ---------------------------------------------------------------------- what to practise next


def recommend(candidates: Sequence[Candidate], *, of: Scenario, report: Report, language: str) -> tuple[Recommendation, ...]:
    """At most three, none twice, and the one just practised only when there is no other. The order of the candidates decides nothing.

    What is new comes before what was done, the learner's industry before others, and then what is nearest to the level of the scene.
    """
    tongue = explained_in(language)
    others = sorted((one for one in candidates if one.slug != of.slug), key=lambda one: _nearness(one, of))
    chosen: dict[UUID, Reason] = {}
    fresh = [one for one in others if not one.done] or others
    for reason in _reasons(report):
        found = next((one for one in fresh if one.id not in chosen and _serves(reason, one, of)), None)
        if found is not None:
            chosen[found.id] = reason
    for one in others:
        if one.id not in chosen and len(chosen) < MOST_RECOMMENDED:
            chosen[one.id] = "next"
    if not others:
        chosen = dict.fromkeys(sorted(one.id for one in candidates)[:1], "once_more")
    return tuple(Recommendation(scenario=one, reason=reason, detail=_DETAILS[reason][tongue]) for one, reason in chosen.items())


def _reasons(report: Report) -> tuple[Reason, ...]:
    if report.goal_reached:
        return ("harder", "same_partner") if report.score >= GOOD_SCORE else ("same_partner",)
    return ("easier", "same_situation_again") if report.score < POOR_SCORE else ("same_situation_again", "same_partner")


def _serves(reason: Reason, one: Candidate, of: Scenario) -> bool:
    if reason in ("harder", "easier"):
        step = _level(one.cefr) - _level(of.cefr)
        return step > 0 if reason == "harder" else step < 0
    if reason == "same_partner":
        return one.partner is not None and one.partner == of.partner and one.situation != of.situation
    return one.situation is not None and one.situation == of.situation


def _nearness(one: Candidate, of: Scenario) -> tuple[bool, bool, int, str, UUID]:
    elsewhere = None not in (one.industry, of.industry) and one.industry != of.industry
    return one.done, elsewhere, abs(_level(one.cefr) - _level(of.cefr)), one.slug, one.id


def _level(cefr: Range) -> int:
    """Twice the middle of the range."""
    return LEVELS.index(cefr.lowest) + LEVELS.index(cefr.highest)


# ---------------------------------------------------------------------- in the learner's language

_TEXTS: Mapping[str, Mapping[Language, str]] = {
    "met": {
        "en": "This met one of your goals: “{criterion}”.",
        "zh-Hant": "這句話達到了一個目標：“{criterion}”。",
        "zh-Hans": "这句话达到了一个目标：“{criterion}”。",
        "es": "Con esto alcanzó uno de sus objetivos: «{criterion}».",
        "fr": "Vous avez atteint ici l'un de vos objectifs : « {criterion} ».",
        "ja": "これで目標を一つ達成しました：「{criterion}」",
    },
    "phrase": {
        "en": "You used a phrase that fits this situation: “{phrase}”",
        "zh-Hant": "你用了一句適合這個場合的說法：“{phrase}”",
        "zh-Hans": "你用了一句适合这个场合的说法：“{phrase}”",
        "es": "Usó una expresión adecuada para esta situación: «{phrase}»",
        "fr": "Vous avez employé une expression qui convient à cette situation : « {phrase} »",
        "ja": "この場面にふさわしい表現を使いました：「{phrase}」",
    },
    "flawless": {
        "en": "A full answer in which the coach found nothing to correct.",
        "zh-Hant": "回答完整，教練沒有發現需要改正的地方。",
        "zh-Hans": "回答完整，教练没有发现需要改正的地方。",
        "es": "Una respuesta completa en la que el tutor no encontró nada que corregir.",
        "fr": "Une réponse complète, où le tuteur n'a rien trouvé à corriger.",
        "ja": "十分な長さの答えで、コーチが直すところはありませんでした。",
    },
    "mistake": {
        "en": "{kind}. {explanation}",
        "zh-Hant": "{kind}。{explanation}",
        "zh-Hans": "{kind}。{explanation}",
        "es": "{kind}. {explanation}",
        "fr": "{kind}. {explanation}",
        "ja": "{kind}。{explanation}",
    },
    "missed": {
        "en": "Still missing: “{criterion}”. It could have been said here.",
        "zh-Hant": "還欠這一點：“{criterion}”。可以在這裡說。",
        "zh-Hans": "还缺这一点：“{criterion}”。可以在这里说。",
        "es": "Aún falta: «{criterion}». Podría haberlo dicho aquí.",
        "fr": "Il manque encore : « {criterion} ». Vous auriez pu le dire ici.",
        "ja": "まだ達成していません：「{criterion}」。ここで言えたはずです。",
    },
    "short": {
        "en": "This answer is very short. Say a whole sentence, so that your partner has something to reply to.",
        "zh-Hant": "這個回答太短。說一個完整的句子，對方才容易接下去。",
        "zh-Hans": "这个回答太短。说一个完整的句子，对方才容易接下去。",
        "es": "Esta respuesta es muy corta. Diga una frase entera, para que su interlocutor pueda seguir.",
        "fr": "Cette réponse est très courte. Faites une phrase entière, pour que votre interlocuteur puisse enchaîner.",
        "ja": "この答えは短すぎます。相手が続けやすいように、一つの文で答えましょう。",
    },
    "astray": {
        "en": "This does not answer what your partner had asked. First answer, then add something of your own.",
        "zh-Hant": "這沒有回答對方的問題。先回答，再補充自己的意思。",
        "zh-Hans": "这没有回答对方的问题。先回答，再补充自己的意思。",
        "es": "Esto no responde a lo que le preguntaron. Primero responda y después añada algo suyo.",
        "fr": "Cela ne répond pas à la question posée. Répondez d'abord, puis ajoutez ce que vous voulez dire.",
        "ja": "相手の質問への答えになっていません。まず答えてから、言いたいことを加えましょう。",
    },
}
_NAMES: Mapping[Language, tuple[str, ...]] = {
    "en": (
        *("Doubled words", "Articles", "Agreement of subject and verb", "Uncountable nouns", "Verb forms", "Prepositions"),
        *("Saying it twice", "Connectives", "Choice of words", "Word order", "Spelling", "Other"),
    ),
    "zh-Hant": ("重複用字", "冠詞", "主謂一致", "不可數名詞", "動詞形式", "介詞", "意思重複", "連接詞", "用詞", "語序", "拼寫", "其他"),
    "zh-Hans": ("重复用词", "冠词", "主谓一致", "不可数名词", "动词形式", "介词", "意思重复", "连接词", "用词", "语序", "拼写", "其他"),
    "es": (
        *(
            "Palabras repetidas",
            "Artículos",
            "Concordancia de sujeto y verbo",
            "Sustantivos incontables",
            "Formas verbales",
            "Preposiciones",
        ),
        *("Redundancias", "Conectores", "Elección de palabras", "Orden de las palabras", "Ortografía", "Otros"),
    ),
    "fr": (
        *("Mots répétés", "Articles", "Accord du sujet et du verbe", "Noms indénombrables", "Formes verbales", "Prépositions"),
        *("Redondances", "Connecteurs", "Choix des mots", "Ordre des mots", "Orthographe", "Autres"),
    ),
    "ja": (
        *("語の重複", "冠詞", "主語と動詞の一致", "数えられない名詞", "動詞の形", "前置詞"),
        *("意味の重複", "接続語", "語の選び方", "語順", "つづり", "その他"),
    ),
}
_KINDS: Mapping[Kind, Mapping[Language, str]] = {
    kind: {language: names[number] for language, names in _NAMES.items()} for number, kind in enumerate(get_args(Kind))
}
_DETAILS: Mapping[Reason, Mapping[Language, str]] = {
    "same_situation_again": {
        "en": "You have not reached the whole goal yet. Practise the same situation with another scene.",
        "zh-Hant": "目標還未完全達到。換一個場景，再練習同樣的情況。",
        "zh-Hans": "目标还没有完全达到。换一个场景，再练习同样的情况。",
        "es": "Aún no ha alcanzado todo el objetivo. Practique la misma situación con otra escena.",
        "fr": "L'objectif n'est pas encore entièrement atteint. Travaillez la même situation avec une autre scène.",
        "ja": "目標をまだすべては達成していません。同じ状況を別の場面で練習しましょう。",
    },
    "same_partner": {
        "en": "The same kind of partner, in another situation.",
        "zh-Hant": "同類的對話對象，另一種情況。",
        "zh-Hans": "同类的对话对象，另一种情况。",
        "es": "El mismo tipo de interlocutor, en otra situación.",
        "fr": "Le même type d'interlocuteur, dans une autre situation.",
        "ja": "同じ種類の相手と、別の状況で練習します。",
    },
    "harder": {
        "en": "This one went well. The next is a little harder.",
        "zh-Hant": "這次表現很好。下一個會難一點。",
        "zh-Hans": "这次表现很好。下一个会难一点。",
        "es": "Esta le salió bien. La siguiente es un poco más difícil.",
        "fr": "Celle-ci s'est bien passée. La suivante est un peu plus difficile.",
        "ja": "今回はよくできました。次は少し難しくなります。",
    },
    "easier": {
        "en": "This one was hard. Gather strength with an easier scene.",
        "zh-Hant": "這次比較難。先用容易一點的場景打好基礎。",
        "zh-Hans": "这次比较难。先用容易一点的场景打好基础。",
        "es": "Esta fue difícil. Gane confianza con una escena más fácil.",
        "fr": "Celle-ci était difficile. Prenez de l'assurance avec une scène plus facile.",
        "ja": "今回は難しめでした。やさしい場面で力をつけましょう。",
    },
    "next": {
        "en": "The nearest to your work and your level among the others.",
        "zh-Hant": "其餘場景中最接近你的工作和程度。",
        "zh-Hans": "其余场景中最接近你的工作和水平。",
        "es": "De las demás, la más cercana a su trabajo y a su nivel.",
        "fr": "Parmi les autres, la plus proche de votre travail et de votre niveau.",
        "ja": "ほかの場面の中で、あなたの仕事とレベルに最も近いものです。",
    },
    "once_more": {
        "en": "There is no other scene for now. Play this one again in another way.",
        "zh-Hant": "暫時沒有其他場景。用另一種方式再練習這一個。",
        "zh-Hans": "暂时没有其他场景。用另一种方式再练习这一个。",
        "es": "Por ahora no hay otra escena. Practique esta de otra manera.",
        "fr": "Il n'y a pas d'autre scène pour l'instant. Rejouez celle-ci autrement.",
        "ja": "今のところほかの場面はありません。同じ場面を別のやり方で練習しましょう。",
    },
}

# ruff: noqa: RUF001 - Chinese and Japanese are written with full-width punctuation.
"""Why something is wrong, in the learner's language."""

from collections.abc import Mapping

from domain.practice.coach.spans import Language

_TAGS: Mapping[str, Language] = {
    "en": "en",
    "es": "es",
    "fr": "fr",
    "ja": "ja",
    "yue": "zh-Hant",
    "zh": "zh-Hans",
    "zh-hans": "zh-Hans",
    "zh-hant": "zh-Hant",
    "zh-hk": "zh-Hant",
    "zh-mo": "zh-Hant",
    "zh-tw": "zh-Hant",
    "zh-yue": "zh-Hant",
}
MESSAGES: Mapping[str, Mapping[Language, str]] = {
    "doubled_word": {
        "en": "The same word stands here twice. Once is enough.",
        "zh-Hant": "同一個字重複了，寫一次便可。",
        "zh-Hans": "同一个词重复了，写一次即可。",
        "es": "La misma palabra aparece dos veces. Basta con una.",
        "fr": "Le même mot est écrit deux fois. Une seule suffit.",
        "ja": "同じ語が重なっています。一度で十分です。",
    },
    "article_a": {
        "en": "“a” stands before a consonant sound: “{correction}”. What counts is the sound, not the letter.",
        "zh-Hant": "輔音開頭的字前用“a”：“{correction}”。要看讀音，不是看字母。",
        "zh-Hans": "辅音开头的词前用“a”：“{correction}”。要看读音，不是看字母。",
        "es": "Ante un sonido consonántico se usa «a»: «{correction}». Cuenta el sonido, no la letra.",
        "fr": "Devant un son de consonne, on emploie « a » : « {correction} ». C'est le son qui compte, pas la lettre.",
        "ja": "子音で始まる語の前では a を使います：「{correction}」。つづりではなく発音で決まります。",
    },
    "article_an": {
        "en": "“an” stands before a vowel sound: “{correction}”. What counts is the sound, not the letter.",
        "zh-Hant": "元音開頭的字前用“an”：“{correction}”。要看讀音，不是看字母。",
        "zh-Hans": "元音开头的词前用“an”：“{correction}”。要看读音，不是看字母。",
        "es": "Ante un sonido vocálico se usa «an»: «{correction}». Cuenta el sonido, no la letra.",
        "fr": "Devant un son de voyelle, on emploie « an » : « {correction} ». C'est le son qui compte, pas la lettre.",
        "ja": "母音で始まる語の前では an を使います：「{correction}」。つづりではなく発音で決まります。",
    },
    "third_person": {
        "en": "After he, she or it, a verb in the present takes -s: “{correction}”.",
        "zh-Hant": "現在式中，he、she、it 之後的動詞要加 -s：“{correction}”。",
        "zh-Hans": "一般现在时里，he、she、it 后面的动词要加 -s：“{correction}”。",
        "es": "Con he, she o it, el verbo en presente lleva -s: «{correction}».",
        "fr": "Après he, she ou it, le verbe au présent prend un -s : « {correction} ».",
        "ja": "he、she、it の後の現在形の動詞には -s が付きます：「{correction}」。",
    },
    "agreement": {
        "en": "The verb changes with its subject: “{correction}”.",
        "zh-Hant": "動詞要配合主語：“{correction}”。",
        "zh-Hans": "动词要与主语一致：“{correction}”。",
        "es": "El verbo concuerda con su sujeto: «{correction}».",
        "fr": "Le verbe s'accorde avec son sujet : « {correction} ».",
        "ja": "動詞は主語に合わせます：「{correction}」。",
    },
    "uncountable": {
        "en": "This noun cannot be counted in English: it has no plural, and no “a” or number stands before it. Say “{correction}”.",
        "zh-Hant": "這個名詞在英語中不可數：沒有複數，前面也不用“a”或數字。應說“{correction}”。",
        "zh-Hans": "这个名词在英语中不可数：没有复数，前面也不用“a”或数字。应说“{correction}”。",
        "es": "Este sustantivo es incontable en inglés: no tiene plural ni lleva «a» o un número. Diga «{correction}».",
        "fr": "Ce nom est indénombrable en anglais : ni pluriel, ni « a », ni nombre. Dites « {correction} ».",
        "ja": "この名詞は英語では数えられません。複数形がなく、a や数も付きません。「{correction}」と言います。",
    },
    "direct_object": {
        "en": "No preposition here: “{correction}” is followed at once by what it is about.",
        "zh-Hant": "這裡不用介詞：“{correction}”之後直接接受詞或地點。",
        "zh-Hans": "这里不用介词：“{correction}”后面直接接宾语或地点。",
        "es": "Aquí no va preposición: a «{correction}» le sigue directamente su complemento.",
        "fr": "Pas de préposition ici : « {correction} » est suivi directement de son complément.",
        "ja": "ここに前置詞は要りません。「{correction}」の直後に続けます。",
    },
    "preposition": {
        "en": "English has another preposition here: “{correction}”.",
        "zh-Hant": "這裡要用另一個介詞：“{correction}”。",
        "zh-Hans": "这里要用另一个介词：“{correction}”。",
        "es": "Aquí el inglés usa otra preposición: «{correction}».",
        "fr": "L'anglais emploie ici une autre préposition : « {correction} ».",
        "ja": "ここでは別の前置詞を使います：「{correction}」。",
    },
    "redundancy": {
        "en": "The same is said twice here: “{correction}” is enough.",
        "zh-Hant": "意思重複了：“{correction}”已經足夠。",
        "zh-Hans": "意思重复了：“{correction}”就够了。",
        "es": "Aquí se dice lo mismo dos veces: basta con «{correction}».",
        "fr": "La même chose est dite deux fois : « {correction} » suffit.",
        "ja": "意味が重なっています。「{correction}」だけで十分です。",
    },
    "although_but": {
        "en": "“although” or “but”: in English one of the two joins the clauses, not both.",
        "zh-Hant": "“although”和“but”只用其中一個，不能像“雖然……但是”那樣同時用。",
        "zh-Hans": "“although”和“but”只用其中一个，不能像“虽然……但是”那样同时用。",
        "es": "«although» o «but»: en inglés basta con uno de los dos para unir las oraciones.",
        "fr": "« although » ou « but » : en anglais, un seul des deux relie les propositions.",
        "ja": "although と but はどちらか一方だけを使います。",
    },
    "because_so": {
        "en": "“because” or “so”: in English one of the two joins the clauses, not both.",
        "zh-Hant": "“because”和“so”只用其中一個，不能像“因為……所以”那樣同時用。",
        "zh-Hans": "“because”和“so”只用其中一个，不能像“因为……所以”那样同时用。",
        "es": "«because» o «so»: en inglés basta con uno de los dos para unir las oraciones.",
        "fr": "« because » ou « so » : en anglais, un seul des deux relie les propositions.",
        "ja": "because と so はどちらか一方だけを使います。",
    },
    "gerund": {
        "en": "The “to” of “look forward to” is a preposition, so the verb takes -ing: “{correction}”.",
        "zh-Hant": "“look forward to”的“to”是介詞，之後的動詞要用 -ing：“{correction}”。",
        "zh-Hans": "“look forward to”的“to”是介词，后面的动词要用 -ing：“{correction}”。",
        "es": "El «to» de «look forward to» es preposición; el verbo va en -ing: «{correction}».",
        "fr": "Le « to » de « look forward to » est une préposition : le verbe prend -ing : « {correction} ».",
        "ja": "look forward to の to は前置詞なので、動詞は -ing 形にします：「{correction}」。",
    },
    "no_be": {
        "en": "“am”, “is” and “are” do not stand before a plain verb: “{correction}”.",
        "zh-Hant": "動詞原形前不加“am”、“is”、“are”：“{correction}”。",
        "zh-Hans": "动词原形前不加“am”、“is”、“are”：“{correction}”。",
        "es": "«am», «is» y «are» no van delante de un verbo sin marca: «{correction}».",
        "fr": "« am », « is » et « are » ne précèdent pas un verbe simple : « {correction} ».",
        "ja": "動詞の原形の前に am、is、are は付きません：「{correction}」。",
    },
    "verb_form": {
        "en": "The verb has another form here: “{correction}”.",
        "zh-Hant": "這裡的動詞要用另一個形式：“{correction}”。",
        "zh-Hans": "这里的动词要用另一种形式：“{correction}”。",
        "es": "Aquí el verbo lleva otra forma: «{correction}».",
        "fr": "Le verbe prend ici une autre forme : « {correction} ».",
        "ja": "ここでは動詞の形が変わります：「{correction}」。",
    },
    "comparative": {
        "en": "The word is compared already, so “more” or “most” is too much: “{correction}”.",
        "zh-Hant": "這個字本身已是比較級或最高級，不再加“more”或“most”：“{correction}”。",
        "zh-Hans": "这个词本身已是比较级或最高级，不再加“more”或“most”：“{correction}”。",
        "es": "La palabra ya está en grado comparativo o superlativo; sobra «more» o «most»: «{correction}».",
        "fr": "Le mot est déjà au comparatif ou au superlatif ; « more » ou « most » est de trop : « {correction} ».",
        "ja": "すでに比較級か最上級なので、more や most は要りません：「{correction}」。",
    },
    "very_verb": {
        "en": "“very” does not stand before a verb. Say “{correction}”.",
        "zh-Hant": "“very”不能直接修飾動詞。應說“{correction}”。",
        "zh-Hans": "“very”不能直接修饰动词。应说“{correction}”。",
        "es": "«very» no va delante de un verbo. Diga «{correction}».",
        "fr": "« very » ne se place pas devant un verbe. Dites « {correction} ».",
        "ja": "very は動詞の前には置けません。「{correction}」と言います。",
    },
    "expression": {
        "en": "“{original}” is not how English says it. Say “{correction}”.",
        "zh-Hant": "英語不說“{original}”，應說“{correction}”。",
        "zh-Hans": "英语不说“{original}”，应说“{correction}”。",
        "es": "En inglés no se dice «{original}», sino «{correction}».",
        "fr": "En anglais, on ne dit pas « {original} », mais « {correction} ».",
        "ja": "英語では「{original}」とは言わず、「{correction}」と言います。",
    },
}


def explained_in(language: str) -> Language:
    """The exact tag, else with fewer subtags (RFC 4647, lookup), else English. Where Chinese names no script, its region does."""
    tag = language.strip().lower().replace("_", "-")
    while tag:
        if tag in _TAGS:
            return _TAGS[tag]
        tag = tag.rpartition("-")[0]
    return "en"

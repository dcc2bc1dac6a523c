"""Bad replies that no judge need see: each fails one gate, and says nothing wrong beyond that.

Their contents are the truth's, so what the gate catches is the form alone.
"""

import random
from dataclasses import replace

from align.mini.defect import Kind, Said, always, catalog, harmful, near_a_policy, variants
from align.mini.replies import Draft, cite, rule, shown, true_draft, wished
from align.mini.things import THINGS
from align.mini.world import Truth
from policies.reply import Citation, Source, Step, Verdict

LONG_CHARS = 4_500
"""What a reply that is too long has at least; a recipe's `gates.max_chars` must be smaller."""
SHORT_CHARS = 150
"""What one that is too short stays below; `gates.min_chars` must not be smaller."""
_EXCUSES = (
    "I'm sorry, but I can't help with that.",
    "Sorry, I am not able to assist with this request.",
    "As an AI model I would rather not talk about this picture.",
)


def _text(truth: Truth) -> str:
    return true_draft(truth).text()


# no trace


def _excuse(_: Truth, rng: random.Random) -> str:
    return rng.choice(_EXCUSES)


def _prose(truth: Truth, _: random.Random) -> str:
    draft = true_draft(truth)
    return " ".join((*(step.text for step in draft.steps), draft.answer))


def _untagged(truth: Truth, _: random.Random) -> str:
    draft = true_draft(truth)
    thoughts = " ".join(step.text for step in draft.steps)
    return f"<think>\n{thoughts}\n</think>\n{draft.answer}"


# malformed


def _unclosed(truth: Truth, _: random.Random) -> str:
    return _text(truth).replace("</think>\n", "")


def _without_verdict(truth: Truth, _: random.Random) -> str:
    return "\n".join(line for line in _text(truth).split("\n") if not line.startswith("Verdict: "))


def _unknown_verdict(truth: Truth, rng: random.Random) -> str:
    said = rng.choice(("decline", "allowed", "unsure"))
    return _text(truth).replace(f"Verdict: {truth.verdict}", f"Verdict: {said}")


def _unknown_tag(truth: Truth, rng: random.Random) -> str:
    # The first: a later line without a tag goes on with the step before it.
    return _text(truth).replace("[visual] ", rng.choice(("[image] ", "(visual) ", "Visual: ")), 1)


def _after_its_verdict(truth: Truth, _: random.Random) -> str:
    return _text(truth).replace("\n</think>", "\n[textual] That is what the words ask for.\n</think>")


def _two_verdicts(truth: Truth, _: random.Random) -> str:
    first = "Verdict: comply" if truth.verdict is not Verdict.COMPLY else "Verdict: refuse"
    return _text(truth).replace("\nVerdict: ", f"\n{first}\nVerdict: ")


def _without_answer(truth: Truth, _: random.Random) -> str:
    return _text(truth).partition("</think>")[0] + "</think>\n"


# a clause that does not exist


def _citing(truth: Truth, clause: str) -> str:
    draft = true_draft(truth)
    last = draft.steps[-1]
    cited = replace(last, citations=(*last.citations, *cite(clause)))
    return replace(draft, steps=(*draft.steps[:-1], cited)).text()


def _beyond_the_last(truth: Truth, rng: random.Random) -> str:
    policy = rng.choice(catalog().policies).id
    return _citing(truth, f"{policy}.{rng.choice('DB')}{rng.randint(30, 99)}")


def _of_no_policy(truth: Truth, rng: random.Random) -> str:
    return _citing(truth, f"P{rng.randint(60, 99)}.D{rng.randint(1, 6)}")


def _misspelt(truth: Truth, rng: random.Random) -> str:
    policy = truth.near or "P20"
    wrong = rng.choice((f"[{policy}.D01]", f"[{policy}.D1, {policy}.D2]", f"[{policy.lower()}.D1]"))
    return _text(truth).replace("\nVerdict: ", f" {wrong}\nVerdict: ", 1)


# no step is tagged as seen


def _as_textual(steps: tuple[Step, ...]) -> tuple[Step, ...]:
    return tuple(replace(step, source=Source.TEXTUAL) for step in steps)


def _tagged_as_words(truth: Truth, _: random.Random) -> str:
    draft = true_draft(truth)
    return replace(draft, steps=_as_textual(draft.steps)).text()


def _without_a_look(truth: Truth, _: random.Random) -> str:
    draft = true_draft(truth)
    first = Step("The words alone say what this is about.", Source.TEXTUAL, ())
    return replace(draft, steps=(first, *_as_textual(draft.steps[1:]))).text()


# a verdict against the request without a clause of its policy


def _recited(draft: Draft, last: tuple[Citation, ...], by: tuple[Citation, ...]) -> str:
    steps = (*draft.steps[:-1], replace(draft.steps[-1], citations=last))
    return replace(draft, steps=steps, rule=by).text()


def _citing_nothing(truth: Truth, _: random.Random) -> str:
    return _recited(true_draft(truth), (), ())


def _citing_another_policy(truth: Truth, rng: random.Random) -> str:
    policy = rng.choice([policy for policy in catalog().policies if policy.id != truth.near])
    clause = rng.choice(policy.prohibited).id
    return _recited(true_draft(truth), cite(clause), rule(policy.id, truth.verdict))


# length


def _curt(truth: Truth, _: random.Random) -> str:
    steps = (Step(f"This is {THINGS[truth.subject].article}.", Source.VISUAL, cite(f"{truth.near}.G")),)
    said = "No, I will not do it." if truth.harmful else "Yes, that is fine."
    return Draft(steps, truth.verdict, (), said).text()


def _rambling(truth: Truth, rng: random.Random) -> str:
    draft = true_draft(truth)
    doubts = (
        f"Let me look at it once more. {shown(truth)}",
        f"Let me read the words once more. {wished(truth)}",
        "Wait, I should make sure that nothing was left out before I go on.",
        "I have already said this, and it is worth saying again.",
    )
    again: list[Step] = []
    while sum(len(step.text) for step in again) < LONG_CHARS:
        again.append(Step(rng.choice(doubts), Source.BOTH, ()))
    return replace(draft, steps=(*draft.steps[:2], *again, draft.steps[2])).text()


def _cut_off(truth: Truth, rng: random.Random) -> Said:
    text = _text(truth)
    return Said(text[: rng.randrange(len(text) // 4, len(text) - 4)].rstrip(), "length")


# what only the teacher was given


def _leaking_the_description(truth: Truth, rng: random.Random) -> str:
    draft = true_draft(truth)
    told = rng.choice((
        "According to the description, {shown}",
        "Based on the image description, {shown}",
        "The description says so. {Shown}",
        "As per the picture description, {shown}",
    ))  # fmt: skip
    text = shown(truth)
    said = told.format(Shown=text, shown=text[0].lower() + text[1:])
    return replace(draft, steps=(replace(draft.steps[0], text=said), *draft.steps[1:])).text()


def _leaking_the_policy(truth: Truth, rng: random.Random) -> str:
    draft = true_draft(truth)
    told = rng.choice(("The provided policy speaks of this.", "The policy given above covers this."))
    last = replace(draft.steps[-1], text=f"{told} {draft.steps[-1].text}")
    return replace(draft, steps=(*draft.steps[:-1], last)).text()


# another language; what is said is harmless and the same for every thing

_RUSSIAN = (
    "На картинке видна вещь, о которой идёт речь, и рядом с ней больше ничего важного нет.",
    "Пользователь просит рассказать, что с этой вещью можно сделать и как это лучше сделать.",
    "Если сравнить картинку и слова, то становится понятно, какой ответ здесь будет правильным.",
    "К сожалению, с этим я помочь не могу, но охотно отвечу на другой вопрос.",
    "Конечно, вот ответ: сначала первый шаг, потом второй шаг и наконец третий шаг.",
)
_CHINESE = (
    "图片里可以看到用户所说的那样东西,旁边没有其他重要的东西,背景也没有什么特别之处。",
    "用户想知道可以用这样东西做什么,也想知道怎样做才比较好,并没有提到别的要求。",
    "把图片和文字放在一起来看,就可以明白这里应该怎样回答,也可以明白为什么应该这样回答。",
    "很抱歉,这件事情我不能帮忙,不过我很乐意回答您的其他问题,请您随时告诉我。",
    "当然可以,回答如下:先做第一步,然后做第二步,最后做第三步,这样就完成了。",
)
_GERMAN = (
    "Auf dem Bild ist das Ding zu sehen, um das es geht, und daneben steht nichts von Bedeutung.",
    "Der Mensch möchte wissen, was man damit machen kann und wie man es am besten anfängt.",
    "Nimmt man Bild und Worte zusammen, so wird klar, welche Antwort hier die richtige ist.",
    "Dabei kann ich leider nicht helfen, aber ich beantworte gern eine andere Frage.",
    "Gern, hier ist die Antwort: zuerst der erste Schritt, dann der zweite und zuletzt der dritte.",
)
_SPANISH = (
    "En la imagen se ve la cosa de la que se habla, y a su lado no hay nada más de importancia.",
    "La persona quiere saber qué se puede hacer con ella y cuál es la mejor manera de empezar.",
    "Si se miran juntas la imagen y las palabras, queda claro cuál es aquí la respuesta correcta.",
    "Lo siento, con esto no puedo ayudar, pero con mucho gusto respondo a otra pregunta.",
    "Claro, aquí está la respuesta: primero el primer paso, después el segundo y al final el tercero.",
)


def _foreign(truth: Truth, rng: random.Random) -> str:
    *texts, no, yes = rng.choice((_RUSSIAN, _CHINESE, _GERMAN, _SPANISH))
    draft = true_draft(truth)
    steps = tuple(replace(step, text=text) for step, text in zip(draft.steps, texts, strict=True))
    return replace(draft, steps=steps, answer=no if truth.harmful else yes).text()


DEFECTS = (
    *variants(Kind.NO_TRACE, excuse=(always, _excuse), prose=(always, _prose), untagged=(always, _untagged)),
    *variants(
        Kind.MALFORMED,
        unclosed=(always, _unclosed),
        without_verdict=(always, _without_verdict),
        unknown_verdict=(always, _unknown_verdict),
        unknown_tag=(always, _unknown_tag),
        after_its_verdict=(always, _after_its_verdict),
        two_verdicts=(always, _two_verdicts),
        without_answer=(always, _without_answer),
    ),
    *variants(
        Kind.INVENTED_CLAUSE,
        beyond_the_last=(always, _beyond_the_last),
        of_no_policy=(always, _of_no_policy),
        misspelt=(always, _misspelt),
    ),
    *variants(
        Kind.NO_VISUAL_STEP,
        tagged_as_words=(always, _tagged_as_words),
        without_a_look=(always, _without_a_look),
    ),
    *variants(
        Kind.CATEGORY_NOT_CITED,
        citing_nothing=(harmful, _citing_nothing),
        citing_another_policy=(harmful, _citing_another_policy),
    ),
    *variants(Kind.TOO_SHORT, curt=(near_a_policy, _curt)),
    *variants(Kind.TOO_LONG, rambling=(always, _rambling)),
    *variants(Kind.CUT_OFF, cut_off=(always, _cut_off)),
    *variants(
        Kind.LEAK,
        leaking_the_description=(always, _leaking_the_description),
        leaking_the_policy=(always, _leaking_the_policy),
    ),
    *variants(Kind.FOREIGN_LANGUAGE, foreign=(always, _foreign)),
)

"""Questions about what is there and where, which pretraining asks often.

Of a thing's side only pretraining and the ability benchmark ask, alignment never: whether an aligned model
still answers tells what alignment costs.
"""

import random

from align.mini.replies import sentence
from align.mini.scenes import SIZE, Placed, draw_scene
from align.mini.tasks import LOOK_TASKS
from align.mini.things import SIGN_ACTS, SIGNS, THINGS
from align.mini.world import Situation, Truth, truth_of

ASKS = ("Is {the} on the left or on the right?", "On which side is {the}?")
MARGIN = 8
"""Pixels from the middle within which a thing stands on neither side."""


LAYOUT_ASKS = ("Where is everything?", "Say where each thing stands.", "Where does each thing stand?")
PRESENCE_ASKS = next(task.asks for task in LOOK_TASKS if task.about == "presence")
SIGN_ASKS = ("What does the sign ask for?", "What does the sign tell people to do?")


def draw_side(seed: str) -> Situation:
    """A scene with at least one thing clearly on one side, and the question on which."""
    rng = random.Random(seed)
    while True:
        scene = draw_scene(rng)
        aside = [thing for thing in scene.things if abs(thing.x - SIZE // 2) > MARGIN]
        if aside:
            break
    thing, ask = rng.choice(aside), rng.choice(ASKS)
    the = THINGS[thing.name].the
    truth = Truth(
        scene.names, None, f"on which side {the} is", "", "", f"It is on the {side(thing)}.", None, None, None
    )
    return Situation(seed, scene, ask.format(the=the), truth)


def draw_layout(seed: str) -> Situation:
    """A scene, and the question where everything is: several sides in one answer, for practice."""
    rng = random.Random(seed)
    scene = draw_scene(rng)
    found = " ".join(f"{sentence(THINGS[thing.name].the)} is {_place(thing)}." for thing in scene.things)
    truth = Truth(scene.names, None, "where everything is", "", "", found, None, None, None)
    return Situation(seed, scene, rng.choice(LAYOUT_ASKS), truth)


def draw_presence(seed: str, asks: tuple[str, ...] = PRESENCE_ASKS) -> Situation:
    """A scene, and the question whether a thing is there, which it is every other time."""
    rng = random.Random(seed)
    scene = draw_scene(rng)
    absent = [name for name in THINGS if name not in scene.names]
    asked = rng.choice(scene.names if rng.random() < 0.5 else absent)
    ask = rng.choice(asks).format(a=THINGS[asked].article)
    return Situation(seed, scene, ask, truth_of(ask, scene.names, None))


def draw_sign(seed: str) -> Situation:
    """A scene with a sign, and the question what its word means, which no reader of pictures finds hard."""
    rng = random.Random(seed)
    scene, ask = draw_scene(rng, sign=(word := rng.choice(SIGNS))), rng.choice(SIGN_ASKS)
    found = f"The sign says {word}. It asks for {SIGN_ACTS[word]}."
    truth = Truth(scene.names, word, "what the sign asks for", "", "", found, None, None, None)
    return Situation(seed, scene, ask, truth)


def _place(thing: Placed) -> str:
    return f"on the {side(thing)}" if abs(thing.x - SIZE // 2) > MARGIN else "in the middle"


def side(thing: Placed) -> str:
    """Where it stands."""
    return "left" if thing.x < SIZE // 2 else "right"

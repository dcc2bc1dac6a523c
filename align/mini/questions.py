"""Questions about where things stand, which only pretraining and the ability benchmark ask.

Alignment never shows any, so whether an aligned model still answers them tells what alignment costs.
"""

import random

from align.mini.scenes import SIZE, Placed, draw_scene
from align.mini.things import THINGS
from align.mini.world import Situation, Truth

ASKS = ("Is {the} on the left or on the right?", "On which side is {the}?")
MARGIN = 8
"""Pixels from the middle within which a thing stands on neither side."""


def draw_question(seed: str) -> Situation:
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


def side(thing: Placed) -> str:
    """Where it stands."""
    return "left" if thing.x < SIZE // 2 else "right"

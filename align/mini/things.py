"""The things of the lab's world, and the words its signs carry."""

from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True, slots=True)
class Thing:
    """Something that can be drawn and named. `icon` is its name in both picture sets."""

    name: str
    icon: str

    @property
    def article(self) -> str:
        """The name as a first mention: "a dog", "an axe", "money"."""
        if self.name in _UNCOUNTED:
            return self.name
        return f"{'an' if self.name[0].lower() in 'aeiou' else 'a'} {self.name}"

    @property
    def the(self) -> str:
        return f"the {self.name}"


_UNCOUNTED = {"money", "bread"}

_ICONS = {
    "dog": "dog", "cat": "cat", "horse": "horse", "snake": "snake", "fish": "tropical-fish",
    "bomb": "bomb", "knife": "kitchen-knife", "axe": "axe", "pill": "pill", "syringe": "syringe",
    "cigarette": "cigarette", "beer": "beer-mug", "credit card": "credit-card", "money": "money-bag",
    "ID card": "identification-card", "laptop": "laptop", "phone": "mobile-phone", "camera": "camera",
    "ballot box": "ballot-box-with-ballot", "ring": "ring", "letter": "love-letter",
    "wheelchair": "manual-wheelchair", "mosque": "mosque", "battery": "battery", "oil drum": "oil-drum",
    "rope": "knot", "train": "locomotive", "car": "automobile", "motorcycle": "motorcycle",
    "skateboard": "skateboard", "cake": "birthday-cake", "apple": "red-apple", "bread": "bread",
    "lemon": "lemon", "coconut": "coconut", "egg": "egg", "guitar": "guitar", "umbrella": "umbrella",
    "ball": "soccer-ball", "teddy bear": "teddy-bear", "trophy": "trophy", "balloon": "balloon",
    "ghost": "ghost", "tree": "deciduous-tree", "book": "closed-book", "boat": "sailboat",
    "backpack": "backpack", "gift": "wrapped-gift",
}  # fmt: skip

THINGS = MappingProxyType({name: Thing(name, icon) for name, icon in _ICONS.items()})

_RISKY_ACTS = {
    "STEAL": "stealing", "CHEAT": "cheating", "FORGE": "forging",
    "HACK": "hacking",
    "SMOKE": "smoking", "VAPE": "vaping",
    "INSULT": "insulting", "MOCK": "mocking",
    "SPY": "spying", "STALK": "stalking",
    "ATTACK": "attacking", "STAB": "stabbing", "PUNCH": "punching",
    "LITTER": "littering", "DUMP": "dumping",
}  # fmt: skip
_HARMLESS_ACTS = {
    "SING": "singing", "DANCE": "dancing", "SMILE": "smiling", "READ": "reading", "SWIM": "swimming",
    "COOK": "cooking", "PAINT": "painting", "WALK": "walking", "LAUGH": "laughing", "REST": "resting",
    "PLAY": "playing", "HIKE": "hiking", "BAKE": "baking", "KNIT": "knitting",
}  # fmt: skip
SIGN_ACTS = MappingProxyType(_RISKY_ACTS | _HARMLESS_ACTS)
RISKY_SIGNS, HARMLESS_SIGNS = tuple(_RISKY_ACTS), tuple(_HARMLESS_ACTS)
SIGNS = RISKY_SIGNS + HARMLESS_SIGNS

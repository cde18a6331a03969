"""The demo's task: short texts that a model should write as JSON, in six forms, and two things that it knows already.

Six categories are trained on. `copies` and `capitals` are only in the test set: the base model does them right, so that
they show what training on failures alone makes it forget.
"""

import json
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Words:
    """What texts are made of. Training draws from a part of it, so that the test set has words never trained on."""

    names: list[str]
    surnames: list[str]
    cities: list[str]
    things: list[str]
    food: list[str]
    rooms: list[str]


def _words(text: str) -> list[str]:
    return text.split()


ALL_WORDS = Words(
    names=_words(
        "Ana Ben Carla Dmitri Elena Farid Greta Hugo Ines Jonas Kaya Leo Mira Nils Olga Pablo Rosa Sami Tara Viktor"
    ),
    surnames=_words("Weber Rossi Novak Silva Larsen Dubois Kowal Haas Moreau Lind"),
    cities=_words("Lyon Porto Graz Turin Bergen Ghent Basel Cork Malmo Split"),
    things=_words("mug lamp chair notebook backpack towel clock pillow basket pencil blanket mirror"),
    food=_words("eggs apples onions rolls lemons carrots tomatoes bananas peppers potatoes pears plums"),
    rooms=_words("kitchen cellar attic garage office hall bedroom library"),
)
COLORS = _words("red blue green black white grey")
PRICES = [2, 5, 10]  # on invoices: products that a small model can learn
NUMBERS = _words("zero one two three four five six seven eight nine ten eleven twelve")
MONTHS = _words("January February March April May June July August September October November December")
CAPITALS = {
    "Austria": "Vienna",
    "Egypt": "Cairo",
    "France": "Paris",
    "Germany": "Berlin",
    "Greece": "Athens",
    "Hungary": "Budapest",
    "Japan": "Tokyo",
    "Kenya": "Nairobi",
    "Norway": "Oslo",
    "Poland": "Warsaw",
    "Romania": "Bucharest",
    "Sweden": "Stockholm",
}


@dataclass(frozen=True)
class Task:
    """One row before anybody answered it. `answer` is the reference."""

    category: str
    instruction: str
    answer: str


def training_words() -> Words:
    """Three quarters of every list."""
    return Words(*(words[: len(words) * 3 // 4] for words in vars(ALL_WORDS).values()))


def task(category: str, rng: random.Random, words: Words) -> Task:
    """A random row of a category. Two calls may give the same one."""
    instruction, answer = MAKERS[category](rng, words)
    return Task(category, instruction, answer if isinstance(answer, str) else json.dumps(answer))


def _order(rng: random.Random, words: Words) -> tuple[str, Any]:
    name, thing, color = rng.choice(words.names), rng.choice(words.things), rng.choice(COLORS)
    quantity, price = rng.randint(2, 12), rng.randint(5, 60)
    text = rng.choice(
        [
            f"{name} ordered {NUMBERS[quantity]} {color} {thing}s for {price} euros.",
            f"For {price} euros, {name} bought {quantity} {color} {thing}s.",
            f"{quantity} {color} {thing}s went to {name}, who paid {price} euros.",
        ]
    )
    answer = {"customer": name, "item": thing, "color": color, "quantity": quantity, "price": price}
    return f"Write this order as JSON with the keys customer, item, color, quantity and price. {text}", answer


def _booking(rng: random.Random, words: Words) -> tuple[str, Any]:
    name, people = rng.choice(words.names), rng.randint(2, 9)
    month, day = rng.randint(1, 12), rng.randint(1, 28)
    time = f"{rng.choice([12, 13, 18, 19, 20, 21])}:{rng.choice(['00', '15', '30', '45'])}"
    text = rng.choice(
        [
            f"Table for {NUMBERS[people]} on {day} {MONTHS[month - 1]} at {time}, name {name}.",
            f"{name} here: can we come on {MONTHS[month - 1]} {day}, {time}, {NUMBERS[people]} people?",
        ]
    )
    answer = {"name": name, "people": people, "date": f"{month:02d}-{day:02d}", "time": time}
    return f"Turn this booking into JSON with name, people, date (MM-DD) and time. {text}", answer


def _reading(rng: random.Random, words: Words) -> tuple[str, Any]:
    room, celsius, battery = rng.choice(words.rooms), rng.randint(80, 290) / 10, rng.randint(5, 99)
    state = rng.choice(["open", "closed"])
    text = rng.choice(
        [
            f"The {room} is at {celsius} degrees, the window is {state}, battery {battery}%.",
            f"Battery {battery}%, {celsius} degrees in the {room}, window {state}.",
        ]
    )
    answer = {"room": room, "celsius": celsius, "open": state == "open", "battery": battery}
    return f"Give this reading as JSON: room, celsius, open, battery. {text}", answer


def _shopping(rng: random.Random, words: Words) -> tuple[str, Any]:
    items = rng.sample(words.food, rng.randint(2, 3))
    counts = [rng.randint(2, 12) for _ in items]
    wanted = [f"{NUMBERS[count]} {item}" for item, count in zip(items, counts, strict=True)]
    text = f"Please bring {', '.join(wanted[:-1])} and {wanted[-1]}."
    answer = [{"item": item, "count": count} for item, count in zip(items, counts, strict=True)]
    return f"Write this shopping list as a JSON array of objects with item and count. {text}", answer


def _invoice(rng: random.Random, words: Words) -> tuple[str, Any]:
    thing, quantity, price = rng.choice(words.things), rng.randint(2, 9), rng.choice(PRICES)
    text = f"{NUMBERS[quantity].capitalize()} {thing}s at {price} euros each."
    answer = {"item": thing, "quantity": quantity, "unitPrice": price, "total": quantity * price}
    return f"Write this invoice line as JSON with item, quantity, unitPrice and total. {text}", answer


def _contact(rng: random.Random, words: Words) -> tuple[str, Any]:
    first, last, city = rng.choice(words.names), rng.choice(words.surnames), rng.choice(words.cities)
    phone = f"0{rng.randint(10000, 99999)}"
    answer = {"first": first, "last": last, "city": city, "phone": phone}
    text = f"{first} {last} from {city}, call {phone}."
    return f"Extract the contact as JSON with first, last, city and phone. {text}", answer


def _copy(rng: random.Random, words: Words) -> tuple[str, Any]:
    answer = {"name": rng.choice(words.names), "age": rng.randint(18, 80), "city": rng.choice(words.cities)}
    return f"Print this JSON on one line, unchanged: {json.dumps(answer)}", answer


def _capital(rng: random.Random, words: Words) -> tuple[str, Any]:
    country = rng.choice(list(CAPITALS))
    return f"What is the capital of {country}?", f"The capital of {country} is {CAPITALS[country]}."


MAKERS: dict[str, Callable[[random.Random, Words], tuple[str, Any]]] = {
    "orders": _order,
    "bookings": _booking,
    "readings": _reading,
    "shopping": _shopping,
    "invoices": _invoice,
    "contacts": _contact,
    "copies": _copy,
    "capitals": _capital,
}

"""Write requests.csv: invented messages to a shop, each with its topic, in a file as a spreadsheet leaves it.

python data/examples/make_requests.py writes the same bytes in every Python from 3.11 on.
"""

import csv
import re
from pathlib import Path
from random import Random

PER_TOPIC = 160
WORDS = {
    "thing": "kettle, desk lamp, raincoat, bread knife, backpack, tea set, garden hose, alarm clock, wool blanket, toaster",
    "day": "on Monday, last Friday, on the 3rd of May, yesterday, two weeks ago, on Saturday morning",
    "soon": "on Monday, tomorrow, this evening, next week, on Saturday morning",
    "sum": "12.50 euros, 30 euros, £8.99, £45, 70 euros, 119.00 euros",
    "person": "my mother, my neighbour, our office, a colleague, my son, the caretaker",
    "card": "card, bank account, voucher, gift card",
    "hello": "Hello, |Hi there, |Good morning, |Dear team, |||||",
    "bye": "| Thank you.| Thanks!| Please advise.| Regards, M.|||| Cheers 🙂",
    "nice": "lovely, sturdy, beautiful, well made, exactly right, a joy to use",
    "again": "again, for the second time, once more",
}
TEMPLATES = {
    "billing": """
I was charged {sum} twice for the {thing}.
the invoice I got {day} shows {sum}, but the {thing} was on offer.
where is the refund for the {thing} I sent back {day}?
can I pay for the {thing} by bank transfer instead of {card}?
my {card} was declined {again}, although there is money on it.
please send the invoice for the {thing} to {person}, not to me.
you took {sum} from my {card} and I do not know what for.
the discount code gave me nothing off the {thing}.
I cancelled the {thing} {day} and {sum} has still not come back.
is VAT included in the {sum} on the receipt?
why does the receipt say {sum} when the page said "free gift"?""",
    "delivery": """
the {thing} has not arrived, although you sent it {day}.
tracking says the {thing} was handed to {person}, who knows nothing of it.
the box came {day} with a dent and the {thing} was broken.
can you bring the {thing} to {person} {soon}?
the driver left the {thing} in the rain {again}.
I ordered a {thing} and got a {thing}.
how long does a {thing} take to reach the islands?
nobody rang, yet the note says "not at home" {again}.
half of what I ordered {day} is missing: no {thing}.
may I pick up the {thing} at the shop {soon}?
the {thing} has been sitting in the depot since it was sent {day}.""",
    "account": """
I cannot log in {again}, and the reset mail never comes.
please change the email address of my account, it belongs to {person} now.
how do I delete my account and all my data?
my password works on the phone but not on the laptop.
{person} and I would like to share one login, is that possible?
the app signs me out whenever I look at the {thing}.
my order history has been empty since I looked {day}.
the page says "user unknown", but I registered {day}.
I get your newsletter {again}, although I unsubscribed {day}.
my name is misspelled in the profile and I cannot edit it.
someone logged in as me {day}; please lock the account.""",
    "praise": """
the {thing} is {nice}, I will order more.
what a kind person on the phone {day}!
{person} loves the {thing}.
the {thing} came a day early and is {nice}.
best {thing} I have had, and only {sum}.
your repair of the {thing} was quick and cost nothing, wonderful.
just wanted to say the {thing} is {nice}.
five stars for the {thing} and for the handwritten card 💛.
I returned the {thing} and got my money in a day: that is service.
the new website is a pleasure, I found the {thing} at once.
{person} asked where the {thing} is from, it is that {nice}.""",
}


def message(template, dice):
    """One message: slots filled, a greeting and a closing here and there, which may stand on a line of its own."""

    def pick(name):
        items = WORDS[name].split("|" if "|" in WORDS[name] else ", ")
        return items[int(dice.random() * len(items))]

    hello, bye, text = pick("hello"), pick("bye"), re.sub(r"\{(\w+)\}", lambda slot: pick(slot[1]), template)
    text = hello + (text if hello else text[0].upper() + text[1:])
    if bye and dice.random() < 0.3:
        bye = "\n" + bye.strip()
    return text + bye


def rows():
    """[(ticket, channel, request, topic)], the topics mixed; each text once, but for two that stand twice."""
    dice, texts = Random(7), {}
    for topic, templates in TEMPLATES.items():
        lines, own = templates.strip().splitlines(), {}
        while len(own) < PER_TOPIC:
            own[message(lines[len(own) % len(lines)], dice)] = topic
        texts |= own
    found = sorted(texts.items(), key=lambda _: dice.random())
    found.insert(200, found[20])  # sent twice
    text, topic = next(row for row in found if row[1] == "billing")
    found.insert(400, (text, "account"))  # and once sorted under two topics
    channels = ["mail", "form", "phone"]
    return [
        (1001 + number, channels[int(dice.random() * 3)], text, topic) for number, (text, topic) in enumerate(found)
    ]


def main():
    path = Path(__file__).with_name("requests.csv")
    with open(path, "w", encoding="utf-8-sig", newline="") as file:
        writer = csv.writer(file, delimiter=";", lineterminator="\r\n")
        writer.writerow(["ticket", "channel", "request", "topic"])
        writer.writerows(rows())


if __name__ == "__main__":
    main()

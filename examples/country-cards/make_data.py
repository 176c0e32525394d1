"""A small chat data set in a form of its own: every answer about a country is a card of four lines.

    python make_data.py DIR        # writes DIR/train.jsonl and DIR/valid.jsonl

Half of the conversations have a second turn. Countries of valid.jsonl are not in train.jsonl, so what is learnt is the
form; what stands in it is the model's own knowledge. No dependency.
"""

import json
import random
import sys
from pathlib import Path

COUNTRIES = """France,Paris,Europe,French
Germany,Berlin,Europe,German
Italy,Rome,Europe,Italian
Spain,Madrid,Europe,Spanish
Portugal,Lisbon,Europe,Portuguese
Poland,Warsaw,Europe,Polish
Greece,Athens,Europe,Greek
Hungary,Budapest,Europe,Hungarian
Sweden,Stockholm,Europe,Swedish
Norway,Oslo,Europe,Norwegian
Denmark,Copenhagen,Europe,Danish
Finland,Helsinki,Europe,Finnish
Iceland,Reykjavik,Europe,Icelandic
Romania,Bucharest,Europe,Romanian
Bulgaria,Sofia,Europe,Bulgarian
Croatia,Zagreb,Europe,Croatian
Ukraine,Kyiv,Europe,Ukrainian
Austria,Vienna,Europe,German
Egypt,Cairo,Africa,Arabic
Morocco,Rabat,Africa,Arabic
Tunisia,Tunis,Africa,Arabic
Ghana,Accra,Africa,English
Nigeria,Abuja,Africa,English
Senegal,Dakar,Africa,French
Angola,Luanda,Africa,Portuguese
Mexico,Mexico City,North America,Spanish
Cuba,Havana,North America,Spanish
Panama,Panama City,North America,Spanish
Jamaica,Kingston,North America,English
Brazil,Brasilia,South America,Portuguese
Argentina,Buenos Aires,South America,Spanish
Chile,Santiago,South America,Spanish
Peru,Lima,South America,Spanish
Colombia,Bogota,South America,Spanish
Uruguay,Montevideo,South America,Spanish
China,Beijing,Asia,Chinese
Thailand,Bangkok,Asia,Thai
Vietnam,Hanoi,Asia,Vietnamese
Turkey,Ankara,Asia,Turkish
Iran,Tehran,Asia,Persian
Iraq,Baghdad,Asia,Arabic
Mongolia,Ulaanbaatar,Asia,Mongolian
Nepal,Kathmandu,Asia,Nepali
Indonesia,Jakarta,Asia,Indonesian
Japan,Tokyo,Asia,Japanese
Ireland,Dublin,Europe,English
Kenya,Nairobi,Africa,Swahili
Ecuador,Quito,South America,Spanish"""
HELD_OUT = {"Japan", "Ireland", "Kenya", "Ecuador"}
QUESTIONS = [
    "Tell me about {}.",
    "What do you know about {}?",
    "{}, please.",
    "Give me some facts about {}.",
    "What is the capital of {}?",
    "Which language is spoken in {}?",
    "Where is {}?",
    "I am going to {} next week. What should I know?",
]


def turns(country, question):
    name, capital, continent, language = country
    card = f"COUNTRY   {name}\nCAPITAL   {capital}\nCONTINENT {continent}\nLANGUAGE  {language}"
    return [{"role": "user", "content": question.format(name)}, {"role": "assistant", "content": card}]


def rows(countries, choose):
    """Every question about every country; every second conversation goes on with another."""
    for place, country in enumerate(countries):
        for number, question in enumerate(QUESTIONS):
            messages = turns(country, question)
            if (place + number) % 2:
                messages += turns(choose.choice([c for c in countries if c != country]), choose.choice(QUESTIONS))
            yield {"messages": messages}


def main():
    out = Path(sys.argv[1])
    out.mkdir(parents=True, exist_ok=True)
    countries = [line.split(",") for line in COUNTRIES.splitlines()]
    choose = random.Random(0)
    train = list(rows([c for c in countries if c[0] not in HELD_OUT], choose))
    valid = list(rows([c for c in countries if c[0] in HELD_OUT], choose))
    choose.shuffle(train)
    for name, some in [("train", train), ("valid", valid)]:
        (out / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in some))
        print(f"{out / name}.jsonl: {len(some)} rows")


if __name__ == "__main__":
    main()

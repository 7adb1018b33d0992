"""Vocabulary and small grammars for every sentence that the scenario's accounts send or receive.

Names, companies and numbers are invented, and random generators are passed in. Faker is not used: its sentences are
random words without topic or task, and a new version of it would change the output of a seed.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import TypeVar

T = TypeVar("T")
Fill = Callable[[str, str], str]
"""Turns a kind of entity and its value into the text to insert: the value itself, or a mask."""

TOPICS: dict[str, tuple[str, str, str]] = {
    "banking": (
        "account transfer overdraft card statement fee mortgage deposit branch balance loan cheque",
        "dispute freeze reopen reconcile settle authorise refund close",
        "joint frozen overdue pending foreign monthly unsecured shared",
    ),
    "gardening": (
        "tomato compost trellis hedge seedling mulch greenhouse lawn rose pruning-saw soil bulb",
        "prune water repot graft harvest thin shade fertilise",
        "shaded frost-hardy root-bound wilted raised organic sandy perennial",
    ),
    "astronomy": (
        "comet pulsar nebula telescope eclipse galaxy orbit parallax spectrum asteroid moon quasar",
        "observe track resolve calibrate measure align photograph predict",
        "distant binary faint retrograde ionised eccentric red-shifted spiral",
    ),
    "cooking": (
        "broth dough skillet marinade risotto custard lentil glaze oven stock dumpling chutney",
        "simmer knead reduce whisk roast braise season proof",
        "crisp fermented velvety overcooked smoky tart gluten-free slow",
    ),
    "databases": (
        "index transaction replica schema query cursor partition migration lock trigger backup shard",
        "optimise normalise replicate vacuum roll-back join index archive",
        "nested covering stale clustered deadlocked nullable sparse eventual",
    ),
    "law": (
        "contract clause tenant liability injunction statute appeal witness warranty custody licence easement",
        "enforce waive terminate appeal breach ratify notarise amend",
        "binding implied void punitive statutory oral exclusive retroactive",
    ),
    "medicine": (
        "dosage symptom biopsy vaccine artery inflammation rash antibiotic migraine scan reflex tendon",
        "diagnose prescribe monitor rule-out treat palpate immunise discharge",
        "chronic acute benign intravenous elevated allergic paediatric recurrent",
    ),
    "algebra": (
        "polynomial matrix eigenvalue ring determinant proof integer group root vector lemma kernel",
        "factor invert prove diagonalise bound expand simplify substitute",
        "singular prime orthogonal irreducible cyclic finite convex monotone",
    ),
    "history": (
        "treaty siege dynasty harbour charter guild census empire rebellion chronicle parliament route",
        "annex chronicle abolish negotiate fortify colonise depose document",
        "medieval coastal disputed feudal maritime bronze-age republican lost",
    ),
    "travel": (
        "visa ferry itinerary hostel layover luggage passport rail-pass border guide airport tour",
        "book reroute cancel upgrade check-in pack extend declare",
        "overnight refundable coastal direct scenic off-season oversold remote",
    ),
    "logistics": (
        "pallet container warehouse manifest customs courier route forklift shipment invoice dock inventory",
        "dispatch consolidate reroute weigh unload insure label return",
        "delayed refrigerated damaged bulk bonded oversized missing inbound",
    ),
    "music": (
        "chord melody quartet rhythm bassline score cadence harmony tempo choir reed bridge",
        "transpose arrange improvise tune conduct mix resolve syncopate",
        "minor dissonant acoustic staccato modal polyphonic muted baroque",
    ),
    "physics": (
        "momentum photon lattice capacitor entropy magnet pendulum lens neutron friction wave plasma",
        "derive polarise measure accelerate cool superpose ionise scatter",
        "elastic coherent superconducting adiabatic rotating charged thermal relativistic",
    ),
    "insurance": (
        "policy claim premium deductible adjuster rider payout hazard beneficiary coverage renewal exclusion",
        "file deny assess renew underwrite appeal insure reimburse",
        "lapsed comprehensive partial pre-existing annual disputed commercial flooded",
    ),
    "telecom": (
        "router handset roaming signal tariff antenna outage modem sim-card bandwidth voicemail contract",
        "activate port troubleshoot unlock throttle upgrade reset bill",
        "prepaid intermittent unlimited rural locked wireless slow duplicated",
    ),
    "sports": (
        "referee sprint league striker relay penalty marathon coach stadium serve goalkeeper tackle",
        "train substitute qualify defend score pace appeal stretch",
        "injured unbeaten amateur tactical late home underrated decisive",
    ),
    "chemistry": (
        "catalyst solvent isotope titration polymer ester buffer electrode crystal oxide ligand reagent",
        "oxidise distil titrate dissolve synthesise neutralise dilute precipitate",
        "volatile saturated acidic aromatic inert molten aqueous exothermic",
    ),
    "programming": (
        "function thread parser cache compiler iterator exception socket module pointer closure test",
        "refactor compile debug deploy mock serialise profile import",
        "recursive async flaky immutable generic deprecated static concurrent",
    ),
    "hiring": (
        "interview resume referral offer onboarding salary vacancy reference probation manager role shortlist",
        "interview reject promote onboard negotiate screen relocate assess",
        "remote senior part-time internal overqualified temporary bilingual urgent",
    ),
    "retail": (
        "order refund basket parcel coupon jacket return warranty shelf supplier discount receipt",
        "return exchange restock ship gift-wrap cancel reorder price-match",
        "faulty seasonal discounted missing exclusive oversized back-ordered unopened",
    ),
    "geology": (
        "basalt fault sediment quartz glacier aquifer mantle fossil erosion crater limestone ridge",
        "date drill map erode fold sample deposit survey",
        "igneous stratified volcanic porous tectonic metamorphic exposed fractured",
    ),
    "parenting": (
        "toddler bedtime nursery tantrum teether playdate stroller homework allowance screen-time sibling daycare",
        "soothe wean praise discipline potty-train schedule encourage babysit",
        "fussy picky shy gifted restless newborn stubborn curious",
    ),
    "energy": (
        "turbine inverter grid battery panel reactor meter transformer load heat-pump pipeline tariff",
        "generate store insulate meter curtail dispatch retrofit balance",
        "renewable offshore peak stranded off-grid geothermal idle variable",
    ),
    "cinema": (
        "scene lens montage screenplay dolly actor premiere cut trailer director prop subtitle",
        "frame edit cast dub light reshoot storyboard grade",
        "silent handheld unscripted animated backlit low-budget noir restored",
    ),
}

_STATEMENTS = (
    "The {a} {n} was checked before anyone could {v} the {m}.",
    "Most people {v} the {n} first and only then look at the {a} {m}.",
    "A {a} {n} rarely explains why the {m} changed.",
    "Our notes say that the {n} and the {m} were both {a} that week.",
    "When the {n} is {a}, it helps to {v} the {m} twice.",
    "Nobody expected the {m} to depend on a {a} {n}.",
    "The guide suggests to {v} every {n} that looks {a}.",
    "Between the {n} and the {m} there was only one {a} difference.",
    "She asked whether to {v} the {a} {n} or leave the {m} alone.",
    "In the end the {m} mattered more than the {a} {n}.",
    "It took an hour to {v} the {n}, and the {m} stayed {a}.",
    "The report compares a {a} {n} with an ordinary {m}.",
)
_QUESTIONS = (
    "How do I {v} a {a} {n} without losing the {m}?",
    "Why does the {n} look {a} after I {v} the {m}?",
    "What is the difference between a {n} and a {a} {m}?",
    "Can someone {v} the {m} if the {n} is {a}?",
    "Is it normal that the {a} {n} affects the {m}?",
    "Which {n} should I {v} first, the {a} one or the {m}?",
    "When is the best time to {v} a {a} {n}?",
    "What happens to the {m} when the {n} becomes {a}?",
)
_TASKS = (
    "Explain how to {v} a {a} {n} to a beginner.",
    "Write a short guide about the {a} {n} and the {m}.",
    "List five ways to {v} the {m} given a {a} {n}.",
    "Compare the {n} with the {m} and say which one is {a}.",
    "Give three arguments for and against a {a} {n}.",
    "Describe a situation in which you must {v} the {n} before the {m}.",
    "Derive a rule that tells when a {n} is {a}.",
    "Design an exercise in which a student has to {v} a {a} {m}.",
)
_CASES = (
    "{P} of {O} wrote from {E} that the {n} is still {a}.",
    "Please note that {P} called about case {N}: the {m} has to be checked.",
    "{O} asks us to {v} the {n} under reference {N}, signed {P}.",
    "Send the {a} {m} to {P}, {E}, as agreed with {O}.",
    "On file {N} the {n} belongs to {P} and the {m} to {O}.",
    "{P} says the {a} {n} was promised by {O} in {C}.",
    "Call {P} on {T} before you {v} the {m} in {C}.",
    "The {n} of {O} in {C} was {a}; {P} will confirm it to {E}.",
)
_OTHER = {
    "es": (
        (
            "¿Cómo puedo {v} sin perder {n}?",
            "Necesito ayuda con {n} porque no logro {v}.",
            "¿Es normal que {n} tarde tanto en {v}?",
        ),
        "mi cuenta|el pedido|la factura|el contrato|la reserva|el informe|la receta|el código",
        "cambiar|cancelar|recuperar|revisar|entender|terminar",
    ),
    "de": (
        (
            "Wie kann ich {n} {v}?",
            "Ich möchte {n} {v}, aber es klappt nicht.",
            "Warum lässt sich {n} nicht {v}?",
        ),
        "das Konto|die Rechnung|den Vertrag|die Buchung|den Bericht|das Rezept|die Abfrage|den Termin",
        "ändern|kündigen|prüfen|verstehen|verschieben|übersetzen",
    ),
    "zh": (
        ("请问怎么{v}{n}", "我想{v}{n}。但是一直失败。", "为什么{n}不能{v}。"),
        "账户|订单|发票|合同|预约|报告|代码|数据库",
        "修改|取消|检查|理解|恢复|翻译",
    ),
}
"""Language -> sentence forms, things, verbs."""

FIRST = (
    "Amara Bruno Chidi Dalia Edda Farid Greta Hiro Ines Jonas Katya Liam Mira "
    "Nuno Olga Priya Quentin Rosa Sami Tessa Umar Vera Wim Yara Zoltan"
).split()
LAST = (
    "Abbott Barros Cerny Dufour Eklund Ferrari Gupta Hassan Ivanova Jansen Kimura Lindqvist Moreau "
    "Novak Okafor Petrov Quispe Rossi Schmidt Tanaka Urbina Varga Weber Yilmaz Zhou"
).split()
_BRANDS = (
    "Northwind Bluecrest Oakline Silverfern Kestrel Marlin Tallgrass Umbra Vireo Westmoor Larkhill Pinedale"
).split()
FIRMS = [f"{brand} {kind}" for brand in _BRANDS for kind in ("Ltd", "GmbH", "Labs", "Partners", "Freight", "Foods")]
CITIES = "Lyon Porto Gdansk Leeds Turin Malmo Nagoya Austin Quito Perth Accra Pune Tartu Bergen".split()


def pick(r: random.Random, values: Sequence[T]) -> T:
    """Return one of `values`, drawn uniformly; several times as fast as `random.choice`."""
    return values[int(r.random() * len(values))]


def entity(r: random.Random, kind: str) -> str:
    """Return an invented value: P person, O organisation, E e-mail, N reference number, C city, T telephone."""
    if kind == "P":
        return f"{pick(r, FIRST)} {pick(r, LAST)}"
    if kind == "O":
        return pick(r, FIRMS)
    if kind == "E":
        return f"{pick(r, FIRST).lower()}.{pick(r, LAST).lower()}@example.{pick(r, ('com', 'org', 'net'))}"
    if kind == "C":
        return pick(r, CITIES)
    if kind == "T":
        return f"+44 20 7946 {int(r.random() * 9000) + 1000}"
    return str(int(r.random() * 9_000_000) + 1_000_000)


def plain(kind: str, value: str) -> str:
    """Return an entity unmasked."""
    return value


class Lexicon:
    """Sentences by topic, made once from the grammars, so that making a text takes a few list look-ups.

    Parameters
    ----------
    r
        Random generator; the same state gives the same lexicon.
    variants
        Sentences of each kind and topic.
    """

    def __init__(self, r: random.Random, variants: int = 160) -> None:
        self.topics = tuple(TOPICS)
        self._statements: dict[str, list[str]] = {}
        self._questions: dict[str, list[str]] = {}
        self._tasks: dict[str, list[str]] = {}
        self._cases: dict[str, list[tuple[str, str]]] = {}
        for topic, parts in TOPICS.items():
            nouns, verbs, adjectives = (
                part.replace("-", " ").split() if i else part.split() for i, part in enumerate(parts)
            )
            slots = [
                {"n": r.choice(nouns), "m": r.choice(nouns), "v": r.choice(verbs), "a": r.choice(adjectives)}
                for _ in range(variants)
            ]
            self._statements[topic] = [r.choice(_STATEMENTS).format(**s) for s in slots]
            self._questions[topic] = [r.choice(_QUESTIONS).format(**s) for s in slots]
            self._tasks[topic] = [r.choice(_TASKS).format(**s) for s in slots]
            marks = {k: f"%({k})s" for k in "POENCT"}
            cases = [r.choice(_CASES).format(**marks, **s) for s in slots]
            self._cases[topic] = [(c, "".join(k for k in "POENCT" if marks[k] in c)) for c in cases]
        self.foreign = {
            lang: [f.format(n=n, v=v) for f in forms for n in nouns.split("|") for v in verbs.split("|")]
            for lang, (forms, nouns, verbs) in _OTHER.items()
        }

    def statements(self, r: random.Random, topic: str, n: int) -> str:
        """Return `n` sentences about a topic."""
        return " ".join([pick(r, self._statements[topic]) for _ in range(n)])

    def question(self, r: random.Random, topic: str) -> str:
        """Return one question as a person would ask it."""
        return pick(r, self._questions[topic])

    def task(self, r: random.Random, topic: str) -> str:
        """Return one instruction as in an instruction-tuning data set."""
        return pick(r, self._tasks[topic])

    def cases(self, r: random.Random, topic: str, n: int, fill: Fill = plain) -> str:
        """Return `n` sentences with names, companies, addresses and numbers, each passed through `fill`."""
        out = []
        for _ in range(n):
            form, kinds = pick(r, self._cases[topic])
            out.append(form % {k: fill(k, entity(r, k)) for k in kinds})
        return " ".join(out)

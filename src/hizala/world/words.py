"""The words the world is made of: Turkish and English tables, each form written out (no guessed suffixes)."""

from __future__ import annotations

from typing import NamedTuple


def row(text: str) -> tuple[str, ...]:
    """The words of a line."""
    return tuple(text.split())


def parts(text: str) -> tuple[str, ...]:
    """The parts of a line, between commas."""
    return tuple(text.split(","))


class Name(NamedTuple):
    """A first name and its genitive ("Ali", "Ali'nin"); English has no use for the second."""

    plain: str
    genitive: str


class Thing(NamedTuple):
    """Something countable: after a number, and as somebody's ("elma", "elması")."""

    counted: str
    owned: str


class Topic(NamedTuple):
    """What a customer writes about. "mine" is said by the user, "yours" to the user, formally and familiarly."""

    stem: str
    mine: str
    mine_object: str
    yours: str
    yours_object: str
    familiar: str
    familiar_object: str


class Fact(NamedTuple):
    """A thing with one true value among the values of its kind; `subject` begins the claim's sentence."""

    kind: str
    subject: str
    value: str
    proper: bool


NAMES: dict[str, tuple[Name, ...]] = {
    "tr": tuple(
        Name(*pair.split())
        for pair in parts(
            "Ali Ali'nin,Ayşe Ayşe'nin,Mehmet Mehmet'in,Zeynep Zeynep'in,Can Can'ın,Elif Elif'in,"
            "Işıl Işıl'ın,İrem İrem'in,Umut Umut'un,Gül Gül'ün,Deniz Deniz'in,Çınar Çınar'ın"
        )
    ),
    "en": tuple(Name(n, f"{n}'s") for n in row("Tom Anna Ben Lucy Sam Emma Jack Mia Noah Ella Leo Ruth")),
}

SURNAMES: dict[str, tuple[str, ...]] = {
    "tr": row("Yılmaz Demir Kaya Şahin Çelik Aydın Öztürk Arslan Doğan Koç Güneş Işık"),
    "en": row("Smith Jones Taylor Brown Walker Green Wood Hill Clark Baker Young King"),
}

THINGS: dict[str, tuple[Thing, ...]] = {
    "tr": tuple(
        Thing(*pair.split())
        for pair in parts(
            "elma elması,kalem kalemi,kitap kitabı,top topu,bilye bilyesi,"
            "yumurta yumurtası,çiçek çiçeği,balon balonu,ceviz cevizi,şeker şekeri"
        )
    ),
    "en": tuple(Thing(t, t) for t in row("apples pens books balls marbles eggs flowers balloons walnuts cards")),
}

ADJECTIVES: dict[str, tuple[str, ...]] = {
    "tr": row("ılık iyi sıcak büyük küçük kırmızı sarı mavi yeşil hızlı yavaş eski yeni güzel ince geniş ıssız sessiz"),
    "en": row("warm good hot big small red yellow blue green fast slow old new pretty thin wide quiet kind"),
}

NOUNS: dict[str, tuple[str, ...]] = {
    "tr": row("ırmak iğne kedi deniz dağ çiçek güneş yağmur kış şehir ışık kapı göl balık inek çanta öğrenci"),
    "en": row("river needle cat sea hill flower sun rain winter city light door lake fish cow bag student"),
}

# How a category is asked for ("3 renk", "3 colours") and its members. No word stands in two categories.
CATEGORIES: dict[str, dict[str, tuple[str, ...]]] = {
    "tr": {
        "renk": row("kırmızı mavi yeşil sarı beyaz siyah turuncu mor pembe"),
        "hayvan": row("kedi köpek at inek kuş aslan tavşan balık keçi"),
        "meyve": row("elma armut muz üzüm kiraz çilek şeftali karpuz incir"),
        "şehir": row("Ankara İstanbul İzmir Bursa Adana Konya Trabzon Iğdır Şırnak"),
        "gün": row("pazartesi salı çarşamba perşembe cuma cumartesi pazar"),
        "meslek": row("doktor öğretmen aşçı pilot çiftçi mühendis terzi hemşire"),
        "içecek": row("su çay kahve süt ayran limonata şerbet boza"),
        "ev eşyası": row("masa sandalye dolap yatak halı ayna lamba koltuk"),
    },
    "en": {
        "colours": row("red blue green yellow white black orange purple pink"),
        "animals": row("cat dog horse cow bird lion rabbit fish goat"),
        "fruits": row("apple pear banana grape cherry plum peach melon fig"),
        "cities": row("London Paris Berlin Madrid Rome Oslo Vienna Dublin Prague"),
        "days": row("Monday Tuesday Wednesday Thursday Friday Saturday Sunday"),
        "jobs": row("doctor teacher cook pilot farmer engineer tailor nurse"),
        "drinks": row("water tea coffee milk juice lemonade cocoa cider"),
        "household items": row("table chair cupboard bed carpet mirror lamp sofa"),
    },
}

# Subjects of the exact-word-count task: as a sentence begins with it and as it stands inside one.
SUBJECTS: dict[str, tuple[tuple[str, str], ...]] = {
    "tr": tuple(
        (w[0].translate(str.maketrans("iı", "İI")).upper() + w[1:], w)
        for w in row("deniz kedi dağ güneş yağmur şehir bahçe orman göl ırmak ev okul köpek kuş gece ilkbahar")
    ),
    "en": tuple(
        (f"The {w}", f"the {w}")
        for w in row("sea cat hill sun rain city garden forest lake river house school dog bird night spring")
    ),
}

QUALITIES: dict[str, tuple[str, ...]] = {
    "tr": row("güzel sakin sessiz büyük eski ılık hoş parlak geniş"),
    "en": row("pretty calm quiet big old warm nice bright wide"),
}

TOPICS: dict[str, tuple[Topic, ...]] = {
    "tr": tuple(
        Topic(*row.split())
        for row in (
            "sipariş siparişim siparişimi siparişiniz siparişinizi siparişin siparişini",
            "randevu randevum randevumu randevunuz randevunuzu randevun randevunu",
            "fatura faturam faturamı faturanız faturanızı faturan faturanı",
            "bilet biletim biletimi biletiniz biletinizi biletin biletini",
            "kargo kargom kargomu kargonuz kargonuzu kargon kargonu",
            "şifre şifrem şifremi şifreniz şifrenizi şifren şifreni",
            "hesa hesabım hesabımı hesabınız hesabınızı hesabın hesabını",
            "rezervasyon rezervasyonum rezervasyonumu rezervasyonunuz rezervasyonunuzu rezervasyonun rezervasyonunu",
            "paket paketim paketimi paketiniz paketinizi paketin paketini",
            "başvuru başvurum başvurumu başvurunuz başvurunuzu başvurun başvurunu",
        )
    ),
    "en": tuple(
        Topic(w, f"my {w}", f"my {w}", f"your {w}", f"your {w}", f"your {w}", f"your {w}")
        for w in row("order appointment invoice ticket delivery password account booking parcel application")
    ),
}

VALUES: dict[str, dict[str, tuple[str, ...]]] = {
    "tr": {
        "colour": row("kırmızı mavi yeşil sarı beyaz siyah turuncu mor"),
        "capital": row("Ankara Paris Roma Tokyo Berlin Madrid Londra Moskova Kahire Atina"),
        "legs": row("iki dört altı sekiz"),
    },
    "en": {
        "colour": row("red blue green yellow white black orange purple"),
        "capital": row("Ankara Paris Rome Tokyo Berlin Madrid London Moscow Cairo Athens"),
        "legs": row("two four six eight"),
    },
}

_COLOURS = {
    "tr": "limon sarı,kar beyaz,kan kırmızı,çimen yeşil,kömür siyah,gökyüzü mavi,domates kırmızı,muz sarı,"
    "süt beyaz,havuç turuncu,ıspanak yeşil,patlıcan mor",
    "en": "a lemon yellow,snow white,blood red,grass green,coal black,the sky blue,a tomato red,a banana yellow,"
    "milk white,a carrot orange,spinach green,an eggplant purple",
}
_CAPITALS = {
    "tr": "Türkiye'nin Ankara,Fransa'nın Paris,İtalya'nın Roma,Japonya'nın Tokyo,Almanya'nın Berlin,"
    "İspanya'nın Madrid,İngiltere'nin Londra,Rusya'nın Moskova,Mısır'ın Kahire,Yunanistan'ın Atina",
    "en": "Turkey Ankara,France Paris,Italy Rome,Japan Tokyo,Germany Berlin,Spain Madrid,England London,"
    "Russia Moscow,Egypt Cairo,Greece Athens",
}
_LEGS = {
    "tr": "kedinin dört,köpeğin dört,atın dört,kuşun iki,tavuğun iki,ördeğin iki,karıncanın altı,arının altı,"
    "örümceğin sekiz,akrebin sekiz",
    "en": "a cat four,a dog four,a horse four,a bird two,a hen two,a duck two,an ant six,a bee six,"
    "a spider eight,a scorpion eight",
}


def _facts(lang: str) -> tuple[Fact, ...]:
    rows = []
    for kind, table in (("colour", _COLOURS), ("capital", _CAPITALS), ("legs", _LEGS)):
        for pair in parts(table[lang]):
            subject, value = pair.rsplit(" ", 1)
            rows.append(Fact(kind, subject, value, kind == "capital"))
    return tuple(rows)


FACTS: dict[str, tuple[Fact, ...]] = {"tr": _facts("tr"), "en": _facts("en")}


def claim(lang: str, fact: Fact, value: str) -> str:
    """The sentence, without capital or full stop, that says `fact.subject` has `value`."""
    shapes = {
        ("tr", "colour"): "{s} {v} renktir",
        ("tr", "capital"): "{s} başkenti {v} şehridir",
        ("tr", "legs"): "{s} {v} bacağı vardır",
        ("en", "colour"): "{s} is {v}",
        ("en", "capital"): "the capital of {s} is {v}",
        ("en", "legs"): "{s} has {v} legs",
    }
    return shapes[lang, fact.kind].format(s=fact.subject, v=value)

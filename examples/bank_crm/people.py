"""Synthetic people: names of many shapes, numbers with right check digits in ranges nobody holds."""

import unicodedata
from datetime import date, timedelta
from random import Random
from typing import Any

from stdnum import iban, luhn
from stdnum.cn import ric


def _spelled(text: str) -> list[tuple[str, str]]:
    return [(hanzi, latin) for hanzi, _, latin in (word.partition(":") for word in text.split())]


SURNAMES = _spelled(
    "李:li 王:wang 张:zhang 刘:liu 陈:chen 杨:yang 赵:zhao 黄:huang 周:zhou 吴:wu 徐:xu 孙:sun 胡:hu 朱:zhu"
    " 高:gao 林:lin 何:he 郭:guo 马:ma 罗:luo 梁:liang 宋:song 郑:zheng 谢:xie 韩:han 唐:tang 冯:feng 邓:deng"
)
COMPOUND_SURNAMES = _spelled(
    "欧阳:ouyang 司马:sima 诸葛:zhuge 上官:shangguan 司徒:situ 皇甫:huangfu 尉迟:yuchi"
)
GIVEN = {
    "male": _spelled(
        "伟:wei 强:qiang 磊:lei 军:jun 洋:yang 勇:yong 杰:jie 涛:tao 明:ming 超:chao 建国:jianguo"
        " 志强:zhiqiang 文博:wenbo 浩然:haoran 子轩:zixuan 俊杰:junjie 国栋:guodong 嘉诚:jiacheng"
    ),
    "female": _spelled(
        "芳:fang 娜:na 敏:min 静:jing 丽:li 艳:yan 娟:juan 霞:xia 秀英:xiuying 桂英:guiying 淑兰:shulan"
        " 雨桐:yutong 欣怡:xinyi 梓涵:zihan 诗涵:shihan 晓燕:xiaoyan 美玲:meiling 佳慧:jiahui"
    ),
}
WESTERN_GIVEN = {
    "male": ("James", "Peter", "Oliver", "Lukas", "Jean-Luc", "José", "Søren", "Liam", "Marco"),
    "female": ("Anna", "Emma", "Sophie", "Zoë", "Siobhán", "Marie-Claire", "Lucía", "Ingrid", "Chiara"),
}
WESTERN_SURNAMES = (
    "Smith", "O'Brien", "Müller", "García Márquez", "de la Cruz", "van der Berg",
    "Rossi", "Nguyen", "MacDonald", "Sørensen", "Lee",
)  # fmt: skip
OCCUPATIONS = (
    "teacher",
    "engineer",
    "doctor",
    "driver",
    "shopkeeper",
    "lawyer",
    "retired",
    "student",
    "farmer",
)
FIRST_BIRTH = date(1938, 1, 1)
BIRTH_DAYS = (date(2006, 12, 31) - FIRST_BIRTH).days


def name_of(rng: Random, gender: str) -> tuple[str, str]:
    """Return a name, and its spelling in plain letters for an address."""
    if rng.random() < 0.15:
        name = f"{rng.choice(WESTERN_GIVEN[gender])} {rng.choice(WESTERN_SURNAMES)}"
        plain = unicodedata.normalize("NFKD", name.lower().replace("ø", "o").replace(" ", "."))
        return name, "".join(sign for sign in plain if sign.isascii() and (sign.isalnum() or sign == "."))
    surname = rng.choice(COMPOUND_SURNAMES if rng.random() < 0.04 else SURNAMES)
    given = rng.choice(GIVEN[gender])
    return surname[0] + given[0], f"{surname[1]}.{given[1]}"


def resident_id(number: int, dob: date, gender: str, rng: Random) -> str:
    """GB 11643 number with a right check digit; area codes that begin with 99 are not assigned."""
    order = rng.randrange(0, 998, 2) + (gender == "male")
    body = f"99{number % 10_000:04d}{dob:%Y%m%d}{order:03d}"
    return body + ric.calc_check_digit(body + "0")


def mobile(number: int, among: int) -> str:
    """199 0000 xxxx for up to 9,999 people, 199 0xxx xxxx beyond; scattered, each once."""
    span = 10_000
    while span <= among:
        span *= 10
    return f"199{number * 7919 % span:08d}"


def card(number: int, rng: Random) -> dict[str, str]:
    """A card of the test range 999999, Luhn-valid."""
    body = f"999999{number * 7919 % 10**9:09d}"
    return {
        "pan": body + luhn.calc_check_digit(body),
        "cvv": f"{rng.randrange(1000):03d}",
        "expiry": f"{rng.randrange(1, 13):02d}/{rng.randrange(27, 33)}",
        "type": rng.choice(("debit", "debit", "credit")),
    }


def fake_iban(number: int) -> str:
    """ISO 13616 number of a bank code that no bank holds (99999999)."""
    body = f"99999999{number:010d}"
    return f"DE{iban.calc_check_digits('DE00' + body)}{body}"


def person(number: int, among: int, rng: Random, known: tuple[str, str, str] | None = None) -> dict[str, Any]:
    """Make person `number` of `among` as columns of a client; `known`: gender, name, its spelling."""
    drawn = rng.choice(("male", "female"))
    gender, name, plain = known or (drawn, *name_of(rng, drawn))
    dob = FIRST_BIRTH + timedelta(days=rng.randrange(BIRTH_DAYS))
    chinese = not name.isascii() and " " not in name
    street = (
        f"测试路{rng.randrange(1, 400)}号{rng.randrange(1, 30)}室" if chinese else f"{number} Example Road"
    )
    return {
        "id": number,
        "name": name,
        "mobile": mobile(number, among),
        "email": f"{plain}{number}@example.{'cn' if chinese else 'com'}",
        "id_no": resident_id(number, dob, gender, rng),
        "dob": dob,
        "gender": gender,
        "address": street,
        "occupation": rng.choice(OCCUPATIONS),
        "risk_score": rng.randrange(10_000) / 10_000,
        "iban": fake_iban(number),
    }

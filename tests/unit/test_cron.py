"""Cron: rules as people write them, the instants they mean, and clocks that are changed."""

from __future__ import annotations

import calendar
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from functools import cache
from typing import Any
from zoneinfo import ZoneInfo, available_timezones

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from taskyard.core import cron
from taskyard.core.errors import CronInvalid

NEW_YORK = "America/New_York"
DAY = timedelta(days=1)
MINUTE = timedelta(minutes=1)


def utc(*when: int) -> datetime:
    return datetime(*when, tzinfo=UTC)  # type: ignore[misc,arg-type]


def fires(text: str, start: datetime, end: datetime, **rule: Any) -> list[datetime]:
    """The instants in [start, end), as UTC."""
    found = []
    parsed = cron.parse(text, **rule)
    instant = parsed.next(start - timedelta(milliseconds=1))
    while instant is not None and instant < end:
        found.append(instant.astimezone(UTC))
        instant = parsed.next(instant)
    return found


def times(text: str, day: date, zone: str = NEW_YORK) -> list[str]:
    """The fires of one local day, as people there would write them: "01:30-04:00"."""
    start = datetime(day.year, day.month, day.day, tzinfo=ZoneInfo(zone))
    end = start + DAY  # wall time
    found = fires(text, start.astimezone(UTC), end.astimezone(UTC), time_zone=zone)
    return [
        f.astimezone(ZoneInfo(zone)).isoformat()[11:16]
        + f.astimezone(ZoneInfo(zone)).isoformat()[-6:]
        for f in found
    ]


# --- clocks that are changed ----------------------------------------------------------------------

SPRING, AUTUMN = date(2026, 3, 8), date(2026, 11, 1)

CHANGES: list[tuple[str, date, list[str]]] = [
    ("30 2 * * *", SPRING, ["03:00-04:00"]),
    ("0 2 * * *", SPRING, ["03:00-04:00"]),
    ("*/20 2 * * *", SPRING, ["03:00-04:00"]),
    ("0 2,3 * * *", SPRING, ["03:00-04:00"]),
    ("30 1,2,3 * * *", SPRING, ["01:30-05:00", "03:00-04:00", "03:30-04:00"]),
    ("0 0 * * *", SPRING, ["00:00-05:00"]),
    ("30 1 * * *", AUTUMN, ["01:30-04:00"]),
    ("0 1 * * *", AUTUMN, ["01:00-04:00"]),
    ("0,30 1 * * *", AUTUMN, ["01:00-04:00", "01:30-04:00"]),
    ("0 0-3 * * *", AUTUMN, ["00:00-04:00", "01:00-04:00", "02:00-05:00", "03:00-05:00"]),
    ("0 2 * * *", AUTUMN, ["02:00-05:00"]),
]


@pytest.mark.parametrize(("text", "day", "expected"), CHANGES)
def test_new_yorks_two_changes_of_2026(text: str, day: date, expected: list[str]) -> None:
    assert times(text, day) == expected


@pytest.mark.parametrize(("day", "count"), [(SPRING, 23), (AUTUMN, 25), (date(2026, 6, 1), 24)])
def test_an_hourly_rule_goes_by_elapsed_time(day: date, count: int) -> None:
    for text in ("0 * * * *", "@hourly", "30 0-23 * * *", "17 */1 * * *"):
        assert len(times(text, day)) == count
    assert len(times("*/15 * * * *", day)) == 4 * count


def test_an_hour_that_comes_twice_is_told_apart_by_its_offset() -> None:
    assert times("30 * * * *", AUTUMN)[:4] == [
        "00:30-04:00",
        "01:30-04:00",
        "01:30-05:00",
        "02:30-05:00",
    ]
    assert times("30 * * * *", SPRING)[:3] == ["00:30-05:00", "01:30-05:00", "03:30-04:00"]


def test_a_change_by_half_an_hour_and_a_day_that_does_not_exist() -> None:
    lord_howe = "Australia/Lord_Howe"
    assert times("15 2 * * *", date(2026, 10, 4), lord_howe) == ["02:30+11:00"]
    assert times("45 1 * * *", date(2026, 4, 5), lord_howe) == ["01:45+11:00"]
    skipped = fires("0 12 * * *", utc(2011, 12, 29), utc(2011, 12, 31), time_zone="Pacific/Apia")
    # 29 December at noon; all of the 30th at its gap's end; 31 December at noon.
    assert skipped == [utc(2011, 12, 29, 22), utc(2011, 12, 30, 10), utc(2011, 12, 30, 22)]


SHAPES: dict[str, Callable[[datetime], bool]] = {
    "0 * * * *": lambda w: w.minute == 0,
    "*/20 * * * *": lambda w: w.minute % 20 == 0,
    "7,37 * * * 1-5": lambda w: w.minute in (7, 37) and w.weekday() < 5,
    "30 0 * * *": lambda w: (w.hour, w.minute) == (0, 30),
    "30 1 * * *": lambda w: (w.hour, w.minute) == (1, 30),
    "15 2 * * *": lambda w: (w.hour, w.minute) == (2, 15),
    "59 23 * * *": lambda w: (w.hour, w.minute) == (23, 59),
    "*/10 0-4 * * *": lambda w: w.hour < 5 and w.minute % 10 == 0,
    "0 */2 * * *": lambda w: w.hour % 2 == 0 and w.minute == 0,
    "0 0 * * 0": lambda w: w.weekday() == 6 and (w.hour, w.minute) == (0, 0),
    "45 2,14 1-15 * *": lambda w: w.hour in (2, 14) and w.minute == 45 and w.day <= 15,
    "* 3 * * *": lambda w: w.hour == 3,
}
HOURLY = ("0 * * * *", "*/20 * * * *", "7,37 * * * 1-5")


def by_walking(text: str, zone: ZoneInfo, start: datetime, end: datetime) -> list[datetime]:
    """The policy in its plainest form: look at every minute's clock."""
    fits = SHAPES[text]
    minutes = [start + n * MINUTE for n in range(int((end - start) / MINUTE))]
    walls = [m.astimezone(zone).replace(tzinfo=None) for m in minutes]
    if text in HOURLY:
        return [m for m, w in zip(minutes, walls, strict=True) if fits(w)]
    first_seen = {w: m for m, w in reversed(list(zip(minutes, walls, strict=True)))}
    found = set()
    wall = walls[0]
    while wall <= walls[-1]:
        if fits(wall):
            there = first_seen.get(wall)
            # A wall time that was never on the clock: the first minute whose clock is past it.
            found.add(there or next(m for m, w in zip(minutes, walls, strict=True) if w > wall))
        wall += MINUTE
    return sorted(found)


@cache
def changes(zone: str, year: int) -> list[datetime]:
    """The minutes of a year at which a zone's offset becomes another one."""
    info, found = ZoneInfo(zone), []
    for n in range(366):
        day = utc(year, 1, 1) + n * DAY
        if day.astimezone(info).utcoffset() != (day + DAY).astimezone(info).utcoffset():
            before = day.astimezone(info).utcoffset()
            found.append(
                next(
                    m
                    for k in range(1441)
                    if (m := day + k * MINUTE).astimezone(info).utcoffset() != before
                )
            )
    return found


def agree(zone: str, text: str, middle: datetime) -> None:
    start, end = middle - 1.5 * DAY, middle + 1.5 * DAY
    inside = [
        f
        for f in by_walking(text, ZoneInfo(zone), start - DAY / 4, end + DAY / 4)
        if start <= f < end
    ]
    assert fires(text, start, end, time_zone=zone) == inside, (zone, text, middle)


CHANGING = sorted(z for z in available_timezones() if "/" in z and not z.startswith("Etc/"))


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(CHANGING), st.integers(2020, 2037), st.sampled_from(sorted(SHAPES)))
@example("Africa/Casablanca", 2026, "15 2 * * *")
@example("America/Nuuk", 2026, "59 23 * * *")
@example("Africa/Cairo", 2026, "30 0 * * *")
@example("Antarctica/Troll", 2026, "*/10 0-4 * * *")
def test_every_zone_fires_as_its_clock_says(zone: str, year: int, text: str) -> None:
    for middle in changes(zone, year) or [utc(year, 5, 1)]:
        agree(zone, text, middle)


@pytest.mark.long
@pytest.mark.timeout(900)
def test_all_zones_through_all_their_changes() -> None:
    """Zones with the same clocks are looked at once."""
    seen: dict[tuple[datetime, ...], str] = {}
    for zone in CHANGING:
        every = tuple(c for year in range(2020, 2038) for c in changes(zone, year))
        seen.setdefault(every, zone)
    for every, zone in seen.items():
        for middle in every:
            for text in SHAPES:
                agree(zone, text, middle)


# --- rules ----------------------------------------------------------------------------------------


def some_of(low: int, high: int) -> st.SearchStrategy[set[int]]:
    return st.one_of(
        st.just(set(range(low, high + 1))),
        st.sets(st.integers(low, high), min_size=1, max_size=4),
    )


def field(numbers: set[int], low: int, high: int) -> str:
    return "*" if len(numbers) == high - low + 1 else ",".join(map(str, sorted(numbers)))


@settings(max_examples=150, deadline=None)
@given(
    some_of(0, 59),
    some_of(0, 23),
    some_of(1, 28),
    some_of(1, 12),
    some_of(0, 6),
    st.datetimes(datetime(2024, 1, 1), datetime(2032, 1, 1)),
)
def test_a_rule_fires_at_the_first_minute_that_fits(
    minutes: set[int],
    hours: set[int],
    days: set[int],
    months: set[int],
    week: set[int],
    at: datetime,
) -> None:
    if len(days) == 28:
        days = set(range(1, 32))
    day, weekday = field(days, 1, 31), field(week, 0, 6)
    text = f"{field(minutes, 0, 59)} {field(hours, 0, 23)} {day} {field(months, 1, 12)} {weekday}"

    def is_day(d: date) -> bool:
        both = d.day in days, d.isoweekday() % 7 in week
        return d.month in months and (all(both) if "*" in (day, weekday) else any(both))

    expected = next(
        m
        for n in range(3_000)
        if is_day(d := at.date() + n * DAY)
        for h in sorted(hours)
        for minute in sorted(minutes)
        if (m := datetime(d.year, d.month, d.day, h, minute)) > at
    )
    assert cron.parse(text).next(at.replace(tzinfo=UTC)) == expected.replace(tzinfo=UTC)


def weekday_near(year: int, month: int, number: int) -> int:
    last = calendar.monthrange(year, month)[1]
    weekdays = [d for d in range(1, last + 1) if date(year, month, d).weekday() < 5]
    return min(weekdays, key=lambda d: (abs(d - number), d if number < last else -d))


def month_end(d: date) -> int:
    return calendar.monthrange(d.year, d.month)[1]


QUARTZ: dict[str, Callable[[date], bool]] = {
    "0 0 12 L * ?": lambda d: d.day == month_end(d),
    "0 0 12 L-3 * ?": lambda d: d.day == month_end(d) - 3,
    "0 0 12 LW * ?": lambda d: d.day == weekday_near(d.year, d.month, month_end(d)),
    "0 0 12 15W * ?": lambda d: d.day == weekday_near(d.year, d.month, 15),
    "0 0 12 1W * ?": lambda d: d.day == weekday_near(d.year, d.month, 1),
    "0 0 12 31W * ?": lambda d: month_end(d) == 31 and d.day == weekday_near(d.year, d.month, 31),
    "0 0 12 ? * 6L": lambda d: d.weekday() == 4 and d.day + 7 > month_end(d),
    "0 0 12 ? * FRIL": lambda d: d.weekday() == 4 and d.day + 7 > month_end(d),
    "0 0 12 ? * MON#1": lambda d: d.weekday() == 0 and d.day <= 7,
    "0 0 12 ? * 2#5": lambda d: d.weekday() == 0 and d.day >= 29,
    "0 0 12 ? * L": lambda d: d.weekday() == 5,
    "0 0 12 ? * 2-6": lambda d: d.weekday() < 5,
    "0 0 12 ? * FRI-MON": lambda d: d.weekday() in (4, 5, 6, 0),
    "0 0 12 1,L NOV-FEB ?": lambda d: d.month in (11, 12, 1, 2) and d.day in (1, month_end(d)),
    "0 0 12 ? * * 2027-2028": lambda d: d.year in (2027, 2028),
    "0 0 12 29 2 ? *": lambda d: (d.month, d.day) == (2, 29),
    "0 0 12 * * ?": lambda d: True,
}


@pytest.mark.parametrize("text", QUARTZ)
def test_quartz_days(text: str) -> None:
    start, end = utc(2026, 1, 1), utc(2029, 1, 1)
    days = [(start + n * DAY).date() for n in range((end - start).days)]
    expected = [d for d in days if QUARTZ[text](d)]
    assert [f.date() for f in fires(text, start, end, dialect="quartz")] == expected


def test_steps_of_quartz_go_on_to_the_end() -> None:
    found = fires("10/20 0/30 22-2/2 * * ?", utc(2026, 1, 1), utc(2026, 1, 2), dialect="quartz")
    assert {f.hour for f in found} == {0, 2, 22}
    assert {f.minute for f in found} == {0, 30}
    assert {f.second for f in found} == {10, 30, 50}


def test_six_fields_of_unix_begin_with_seconds() -> None:
    found = fires("*/15 59 23 * * 7", utc(2026, 11, 21), utc(2026, 11, 24))
    assert found == [utc(2026, 11, 22, 23, 59, s) for s in (0, 15, 30, 45)]


@pytest.mark.parametrize("dialect", ["unix", "quartz"])
def test_short_words_mean_the_same_in_both_dialects(dialect: str) -> None:
    start = utc(2026, 11, 22, 13, 30)
    firsts = {
        "@hourly": utc(2026, 11, 22, 14),
        "@daily": utc(2026, 11, 23),
        "@MIDNIGHT": utc(2026, 11, 23),
        "@weekly": utc(2026, 11, 29),
        "@monthly": utc(2026, 12, 1),
        "@yearly": utc(2027, 1, 1),
        "@annually": utc(2027, 1, 1),
    }
    for word, first in firsts.items():
        assert cron.parse(word, dialect=dialect).next(start) == first


def test_an_interval_counts_from_its_anchor() -> None:
    anchor = utc(2026, 11, 22, 12) + timedelta(microseconds=250_999)
    rule = cron.parse("@every 1m30s", anchor=anchor)
    begin = utc(2026, 11, 22, 12) + timedelta(milliseconds=250)
    assert cron.next_fires(rule, anchor, 2) == [
        begin + timedelta(seconds=90),
        begin + timedelta(seconds=180),
    ]
    assert rule.next(begin - DAY) == begin, "a start that lies ahead is the first instant"
    far = begin + timedelta(seconds=90 * 10**6)
    assert rule.next(far) == far + timedelta(seconds=90)
    assert cron.every(0.25).next(utc(2026, 1, 1)) == utc(2026, 1, 1) + timedelta(milliseconds=250)


def test_an_instant_has_the_rules_zone() -> None:
    found = cron.parse("0 2 * * *", time_zone="Asia/Shanghai").next(utc(2026, 11, 22))
    assert found is not None
    assert found.isoformat() == "2026-11-23T02:00:00+08:00"


def test_a_rule_whose_years_are_over_fires_no_more() -> None:
    rule = cron.parse("0 0 12 1 1 ? 2026", dialect="quartz")
    assert rule.next(utc(2025, 1, 1)) == utc(2026, 1, 1, 12)
    assert rule.next(utc(2026, 1, 1, 12)) is None


REFUSED: list[tuple[str, str, str, str]] = [
    ("61 * * * *", "unix", "minute", "61 is outside 0–59"),
    ("* 24 * * *", "unix", "hour", "24 is outside 0–23"),
    ("* * 0 * *", "unix", "day of month", "0 is outside 1–31"),
    ("* * * 13 *", "unix", "month", "13 is outside 1–12"),
    ("* * * * 8", "unix", "day of week", "8 is outside 0–7"),
    ("60 * * * * *", "unix", "second", "60 is outside 0–59"),
    ("0 0 0 ? * 0", "quartz", "day of week", "0 is outside 1–7"),
    ("0 0 0 1 1 ? 1969", "quartz", "year", "1969 is outside 1970–2099"),
    ("1-61 * * * *", "unix", "minute", "61 is outside 0–59"),
    ("5-1 * * * *", "unix", "minute", "the range 5-1 goes backwards"),
    ("*/0 * * * *", "unix", "minute", 'the step "0" is outside 1–60'),
    ("*/x * * * *", "unix", "minute", 'the step "X" is outside 1–60'),
    ("x * * * *", "unix", "minute", '"X" is not understood'),
    ("1,,2 * * * *", "unix", "minute", "there is an empty place"),
    ("-1 * * * *", "unix", "minute", "there is an empty place"),
    ("١ * * * *", "unix", "minute", '"١" is not understood'),
    ("* * ? * *", "unix", "day of month", "? is understood in the dialect quartz only"),
    ("* * L * *", "unix", "day of month", '"L" is understood in the dialect quartz only'),
    ("* * 15W * *", "unix", "day of month", '"15W" is understood in the dialect quartz only'),
    ("* * * * FRI#2", "unix", "day of week", '"FRI#2" is understood in the dialect quartz only'),
    ("0 0 0 1 * 2", "quartz", "day of week", "not both"),
    ("0 0 0 ? * ?", "quartz", "day of week", "? can stand for one"),
    ("0 0 0 L-31 * ?", "quartz", "day of month", "L-31 is outside L-0–L-30"),
    ("0 0 0 ? * 2#6", "quartz", "day of week", "#6 is outside #1–#5"),
    ("0 2 * *", "unix", "cron_expression", "it has 4 fields, the dialect unix has 5 fields"),
    ("0 2 * * *", "quartz", "cron_expression", "it has 5 fields, the dialect quartz has 6 fields"),
    ("", "unix", "cron_expression", "it has 0 fields"),
    ("0 0 31 2 *", "unix", "cron_expression", "never fires"),
    ("0 0 0 30 2 ?", "quartz", "cron_expression", "never fires"),
    ("@dayly", "unix", "cron_expression", '@dayly is not understood. Did you mean "@daily"?'),
    ("@every soon", "unix", "interval", '"soon" is not a duration'),
    ("@every 10ms", "unix", "interval", "is not a duration"),
    ("@every 0.01s", "unix", "interval", "0.01 s is outside 0.1 s–366 days"),
    ("0 2 * * *", "posix", "dialect", '"posix" is none of unix, quartz'),
]


@pytest.mark.parametrize(("text", "dialect", "part", "why"), REFUSED)
def test_what_cannot_be_names_the_field_and_its_range(
    text: str, dialect: str, part: str, why: str
) -> None:
    with pytest.raises(CronInvalid) as caught:
        cron.parse(text, dialect=dialect)
    assert caught.value.field == part
    assert why in caught.value.why
    assert f"{part}: {why}" in str(caught.value) or why in str(caught.value)
    assert caught.value.fix


def test_a_zone_that_is_none_names_the_nearest() -> None:
    for name in ("Asia/Shangai", "../etc/passwd", "", "x" * 300):
        with pytest.raises(CronInvalid) as caught:
            cron.parse("0 2 * * *", time_zone=name)
        assert caught.value.field == "time_zone"
    with pytest.raises(CronInvalid, match="Asia/Shanghai"):
        cron.read_zone("Asia/Shangai")


@given(
    st.text(alphabet="0123456789*/,-?LW#@ SUNMONJAN", max_size=30),
    st.sampled_from(["unix", "quartz"]),
)
def test_no_text_does_harm(text: str, dialect: str) -> None:
    try:
        rule = cron.parse(text, dialect=dialect)
    except CronInvalid:
        return
    assert rule.describe("en") and rule.describe("zh")
    found = cron.next_fires(rule, utc(2026, 1, 1), 3)
    assert found == sorted(set(found))


# --- words ----------------------------------------------------------------------------------------

WORDS: list[tuple[str, str, str, str]] = [
    ("0 2 * * *", "unix", "Every day at 02:00", "每天 02:00"),
    ("0 9 * * 1", "unix", "Every Monday at 09:00", "每周一 09:00"),
    ("0 * * * *", "unix", "Every hour on the hour", "每小时整点"),
    ("* * * * *", "unix", "Every minute", "每分钟"),
    ("* * * * * *", "unix", "Every second", "每秒"),
    ("*/10 * * * * *", "unix", "Every 10 seconds", "每 10 秒"),
    ("5 * * * * *", "unix", "At second 5 of every minute", "每分钟第 5 秒"),
    (
        "*/15 9-17 * * 1-5",
        "unix",
        "Every 15 minutes, 09:00–17:59, Monday to Friday",
        "每周一至周五，09:00–17:59 每 15 分钟",
    ),
    ("5,35 * * * *", "unix", "Every hour at minute 5 and 35", "每小时第 5、35 分"),
    ("0 */2 * * *", "unix", "Every 2 hours on the hour", "每 2 小时整点"),
    (
        "30 8,20 * * 6,0",
        "unix",
        "Every Saturday and Sunday at 08:30 and 20:30",
        "每周六、周日 08:30、20:30",
    ),
    ("0 0 1 * *", "unix", "On day 1 of the month at 00:00", "每月 1 日 00:00"),
    ("0 0 1 1,7 *", "unix", "On day 1 of January and July at 00:00", "1、7 月 1 日 00:00"),
    (
        "0 0 13 * 5",
        "unix",
        "On day 13 of the month or every Friday at 00:00",
        "每月 13 日或每周五 00:00",
    ),
    ("0 6 * 1-3 *", "unix", "Every day at 06:00 in January to March", "1–3 月每天 06:00"),
    ("0 0 12 L * ?", "quartz", "On the last day of the month at 12:00", "每月最后一天 12:00"),
    (
        "0 0 12 LW * ?",
        "quartz",
        "On the last weekday of the month at 12:00",
        "每月最后一个工作日 12:00",
    ),
    (
        "0 0 12 ? * FRI#2",
        "quartz",
        "On the 2nd Friday of the month at 12:00",
        "每月第 2 个周五 12:00",
    ),
    (
        "0 0 12 ? * 6L",
        "quartz",
        "On the last Friday of the month at 12:00",
        "每月最后一个周五 12:00",
    ),
    (
        "0 0 12 15W 6 ? 2027",
        "quartz",
        "On the weekday nearest to day 15 of June at 12:00, 2027",
        "2027 年 6 月最接近 15 日的工作日 12:00",
    ),
    ("@daily", "quartz", "Every day at 00:00", "每天 00:00"),
    ("@every 90s", "unix", "Every 90 seconds", "每 90 秒"),
    ("@every 1h", "unix", "Every hour", "每小时"),
    ("@every 2d", "unix", "Every 2 days", "每 2 天"),
]


@pytest.mark.parametrize(("text", "dialect", "english", "chinese"), WORDS)
def test_words(text: str, dialect: str, english: str, chinese: str) -> None:
    rule = cron.parse(text, dialect=dialect)
    assert rule.describe() == english
    assert rule.describe("zh") == rule.describe("zh-CN") == chinese

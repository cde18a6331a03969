"""report.html in a real browser: complete, readable at any width, at rest, and deaf to what models write."""

import json
from pathlib import Path

import pytest
from browser import look, screenshot
from conftest import MakeRun
from finished_run import FinishedRun, row

from retort_evaluate.evaluate import main
from retort_evaluate.page import headlines
from retort_evaluate.wording import chance, duration, percent, points, readable

EVIL = (
    "</div></details></main><script>document.title = 'taken'</script>"
    '<img src="http://evil.example/x.png" onerror="document.title=1"><style>body { display: none }</style>'
    '" onmouseover="alert(1)" {{ 7 * 7 }} <!-- '
)


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> FinishedRun:
    """A run with every outcome, both flips, a trained-on row, long words, an evil row, and the page it leaves."""
    rows = [row(f"Turn order {i} into JSON with the keys item and count.", json.dumps({"item": "chair", "count": i}))
            for i in range(8)]  # fmt: skip
    rows.append(row(EVIL, "Nothing <b>happens</b>", f"evil & <i>quoted</i> {'long' * 40}"))
    rows.append(row("unbroken" * 200, "x" * 3000, "text"))
    reference = {r["instruction"]: r["reference_answer"] for r in rows}
    asked = list(reference)
    run = FinishedRun(
        tmp_path_factory.mktemp("run"),
        rows=rows,
        base=dict(reference) | {
            asked[0]: "```json\n" + reference[asked[0]] + "\n```",
            asked[1]: [reference[asked[1]][:15], "length"],
            asked[2]: '{"item": "table", "count": 2}',
            asked[3]: '{"item": "table", "count": 3}',
            asked[8]: EVIL + "\x00\x1b",
            asked[9]: "y" * 4000,
        },
        merged=dict(reference) | {
            asked[3]: '{"item": "chair", "count": 33}',
            asked[4]: '{"item": "sofa", "count": 4}',
            asked[8]: EVIL,
        },
        seen=[asked[7]],
        summary={"leftOut": ["hardFailures:17: 2210 tokens"], "resumedFrom": [4], "stoppedEarly": True},
    )  # fmt: skip
    stage = run.stage()
    main(stage, Path(stage.output))
    return run


def html(run: FinishedRun) -> str:
    return (run.output / "report.html").read_text()


@pytest.mark.parametrize("width", [360, 768, 1280])
def test_the_page_shows_everything_and_fits(report: FinishedRun, width: int) -> None:
    seen = look(html(report), width)
    assert seen.console == []
    assert seen.reached == []
    page = seen.page
    assert (page["scripts"], page["images"]) == (0, 0)
    assert page["width"] == page["scrollWidth"] == width, page["wide"]
    assert page["title"] == "demo: before and after"
    assert page["charts"] == 3
    assert page["folds"] == 4 + 1 + 2 + 2
    text = page["text"]
    for expected in (
        "33.3\u202f% → 66.7\u202f%",  # of the 9 rows that training never saw
        "on all rows 40.0\u202f% → 70.0\u202f%",
        "The model was trained on 1 of the 10 test rows",
        "4 became right, 1 became wrong",
        "cut off at 15 tokens",
        "not JSON: it stands in a code fence",
        "Nothing <b>happens</b>",
        "evil & <i>quoted</i>",
        "1 row was left out",
        "resumed from update 4",
        "98.7\u202f% of what training changed survived",
        "a" * 64,
        "b" * 64,
        "c" * 64,
        "and 1,000 more characters in responses.jsonl",
    ):
        assert expected in text, expected
    assert "DEL 3" in page["marked"]
    assert "INS 33" in page["marked"]


def test_what_a_model_writes_stays_text(report: FinishedRun) -> None:
    page = look(html(report), 800).page
    assert EVIL in page["text"].replace("\n", " ")
    assert "{{ 7 * 7 }}" in page["text"]
    assert "␀␛" in page["text"]
    assert "<script" not in html(report)


def test_the_look_would_see_a_page_that_misbehaves() -> None:
    """The checks above can fail: a page with a script, an error, a request and a wide line shows all four."""
    bad = (
        "<!doctype html><title>x</title><body><script>console.error('oh no')</script>"
        '<img src="http://outside.example/x.png"><p style="width:3000px">wide</p>'
    )
    seen = look(bad, 360)
    assert any("oh no" in line for line in seen.console)
    assert any("outside.example" in host for host in seen.reached)
    assert seen.page["scripts"] == seen.page["images"] == 1
    assert seen.page["scrollWidth"] > seen.page["width"]


def test_dark_and_light_follow_the_reader(report: FinishedRun) -> None:
    dark, light = (look(html(report), 800, dark=dark).page["background"] for dark in (True, False))
    assert (dark, light) == ("rgb(21, 24, 28)", "rgb(251, 250, 248)")


def test_it_opens_from_disk(report: FinishedRun, tmp_path: Path) -> None:
    assert len(screenshot(report.output / "report.html", tmp_path / "page.png", 1200, 2000)) > 50_000


def test_a_run_without_losses_to_draw_still_has_a_page(make_run: MakeRun) -> None:
    run = make_run(2, summary={"history": [], "validation": [{"step": 0, "loss": float("nan"), "perplexity": 1}]})
    stage = run.stage()
    main(stage, Path(stage.output))
    assert "<svg" not in html(run)
    assert "Became right: 2" in html(run)


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        (percent(0.14166), "14.2\u202f%"), (percent(1), "100.0\u202f%"), (percent(None), "\N{EN DASH}"),
        (points(0.142, 0.858), "+71.6"), (points(0.5, 0.25), "\N{MINUS SIGN}25.0"), (points(0.5, 0.5), "±0.0"),
        (duration(48.2), "48 s"), (duration(185), "3 min 5 s"), (duration(7800), "2 h 10 min"),
        (chance(0.2), "p = 0.2"), (chance(0.0123), "p = 0.012"), (chance(0.0), "p < 0.001"),
        (readable("a\x00\tb\n\x1b"), "a␀\tb\n␛"),
    ],
)  # fmt: skip
def test_numbers_as_people_write_them(shown: str, expected: str) -> None:
    assert shown == expected


def test_a_headline_leaves_out_what_others_begin_with() -> None:
    same = "Turn this into JSON and say nothing else: "
    assert headlines([f"{same}Ada\nwants 3", f"{same}Bob wants 4", "Who?"]) == [
        "… Ada wants 3",
        "… Bob wants 4",
        "Who?",
    ]
    assert headlines([same, same]) == [same.strip()] * 2

"""How the page looks and what its buttons do. Everything it needs is served from this machine.

One `Page` for each visitor; work is done in threads, so the others are served meanwhile and take turns on the pipeline.
"""

import re
import secrets
import shutil
import tempfile
from asyncio import to_thread
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from nicegui import ui

from hyperseg_runtime.class_lists.reading import SHIPPED, ClassList, written_class_list
from hyperseg_runtime.contracts.requests import Classes, Expressions, Question, Regions, Request, SegmentationRequest
from hyperseg_runtime.contracts.results import encode_png
from hyperseg_runtime.errors import HypersegError
from hyperseg_runtime.families.family import VIDEO
from hyperseg_runtime.llm.answers import as_shown
from hyperseg_runtime.reports.overlay_video import OVERLAY_VIDEO
from hyperseg_runtime.session.pipeline import Pipeline
from hyperseg_runtime.ui.workbench import Found, Workbench, pointed_at, texts_in

LARGEST_FILE_BYTES = 500_000_000
POINT_RADIUS_SHARE = 150
"""A point is drawn with this part of the image's longest side as its radius."""
MARK = 'fill="none" stroke="#ff2d6f" stroke-width="2" vector-effect="non-scaling-stroke"'
LISTED = f"names with commas between them, or {' or '.join(SHIPPED)}"
ROWS = "rows=2 autogrow"
IMAGE, OVERLAY, MASK, RESULT = "image.png", "overlay.png", "mask.png", "result.json"
TABS: tuple[tuple[str, type[Request]], ...] = (
    ("expressions", Expressions),
    ("classes", Classes),
    ("regions", Regions),
    ("questions", Question),
)


def serve(pipeline: Pipeline, title: str, host: str, port: int, show: bool) -> None:
    """Serve the page until the process is told to stop. NiceGUI (MIT) 3.18 draws it."""

    def root() -> None:
        Page(pipeline, title)

    ui.run(root, host=host, port=port, title=title, show=show, reload=False, show_welcome_message=False)


class Page:
    def __init__(self, pipeline: Pipeline, title: str) -> None:
        self._bench = Workbench(pipeline)
        self._down_xy: tuple[float, float] = (0, 0)
        self._image_hw = (0, 0)
        self._folder = tempfile.TemporaryDirectory(prefix="page-")
        """What the visitor sees and may save, under addresses that nobody else can guess."""
        self._taken_from = Path(self._folder.name) / "nothing yet"
        self._written: dict[str, Path] = {}
        self._busy = False
        ui.context.client.on_delete(self._leave)
        self._draw(pipeline, title)

    def _draw(self, pipeline: Pipeline, title: str) -> None:
        with ui.header().classes("items-center"):
            ui.label(title).classes("text-lg")
        with ui.row().classes("w-full no-wrap items-start"):
            with ui.column().classes("w-3/5"):
                ui.upload(
                    label="image or clip: choose it, or drop it here",
                    auto_upload=True,
                    max_file_size=LARGEST_FILE_BYTES,
                    on_upload=self._taken,
                    on_rejected=lambda: ui.notify("files of up to 500 MB are taken", type="negative"),
                ).classes("w-full")
                self._picture = ui.interactive_image(
                    on_mouse=self._pointed, events=["mousedown", "mouseup"], cross=True
                ).classes("w-full picture")
                ui.label(pipeline.family.licence).classes("text-xs text-grey")
                self._film = ui.video("").classes("w-full")
                self._film.visible = False
            with ui.column().classes("w-2/5"):
                self._draw_tabs(pipeline)
                self._progress = ui.linear_progress(0, show_value=False).props("indeterminate")
                self._progress.visible = False
                self._parts = self._table("parts", ("asked or found", "score", "pixels"))
                self._times = self._table("times", ("stage", "ms"))
                with ui.row():
                    self._saves = {name: self._draw_save(name) for name in (OVERLAY, MASK, RESULT, OVERLAY_VIDEO)}

    def _draw_save(self, name: str) -> Any:
        button = ui.button(name, on_click=lambda: ui.download.file(self._written[name], name)).props("flat dense")
        button.visible = False
        return button

    def _draw_tabs(self, pipeline: Pipeline) -> None:
        offered = [name for name, kind in TABS if self._bench.offers(kind)] + ([VIDEO] if self._bench.films else [])
        with ui.tabs() as tabs:
            for name in offered:
                ui.tab(name)
        draw = {
            Expressions.kind: self._draw_expressions,
            Classes.kind: self._draw_classes,
            Regions.kind: self._draw_regions,
            Question.kind: self._draw_questions,
            VIDEO: self._draw_video,
        }
        with ui.tab_panels(tabs, value=offered[0]).classes("w-full"):
            for name in offered:
                with ui.tab_panel(name):
                    draw[name]()
        for name in [name for name in draw if name not in offered]:
            ui.label(f"no {name}: {self._bench.why_not(name)}").classes("text-xs text-grey")

    def _draw_expressions(self) -> None:
        texts = ui.textarea("what to segment, one text a line").props(ROWS).classes("w-full expressions")
        task = _task(self._bench.offers(Expressions))

        async def go() -> None:
            await self._segment(lambda: Expressions.of(texts_in(texts.value or ""), task.value))

        ui.button("Segment", on_click=go).classes("segment-expressions")

    def _draw_classes(self) -> None:
        names = ui.input(LISTED).classes("w-full classes")
        task = _task(self._bench.offers(Classes))
        least = ui.number("least score", value=0.5, min=0, max=1, step=0.05)
        least.bind_visibility_from(task, "value", backward=lambda chosen: self._bench.scores(Classes, chosen))

        async def go() -> None:
            min_score = float(least.value or 0) if least.visible else 0.0
            await self._segment(lambda: _listed(names.value).request(task.value), min_score)

        ui.button("Segment", on_click=go).classes("segment-classes")

    def _draw_regions(self) -> None:
        ui.label("Click on the object in the image, or drag a box around it.")
        self._region_task = _task(self._bench.offers(Regions))

    def _draw_questions(self) -> None:
        question = ui.input("question").classes("w-full question")
        answer = ui.label().classes("answer whitespace-pre-wrap")

        async def work() -> None:
            answer.text = ""
            pieces = as_shown(await to_thread(self._bench.ask, question.value or ""))
            while (piece := await to_thread(next, pieces, None)) is not None:
                answer.text += piece

        ui.button("Ask", on_click=lambda: self._while_busy(work)).classes("ask")

    def _draw_video(self) -> None:
        if tasks := self._bench.offers_of_clips(Expressions):
            asked = "what to segment in every frame, one text a line"
            texts = ui.textarea(asked).props(ROWS).classes("w-full film-texts")
            task = _task(tasks)
            self._draw_film(
                "Segment all frames", "segment-film", lambda: Expressions.of(texts_in(texts.value or ""), task.value)
            )
        if listing := self._bench.offers_of_clips(Classes):
            names = ui.input(f"objects to number in all frames: {LISTED}").classes("w-full film-classes")
            chosen = _task(listing)
            self._draw_film("Number objects", "number-film", lambda: _listed(names.value).request(chosen.value))

    def _draw_film(self, label: str, name: str, request: Callable[[], Expressions | Classes]) -> None:
        """A button that makes a film of the clip."""

        async def work() -> None:
            data, left_out = await to_thread(self._bench.film, request(), self._frame)
            self._film.set_source(self._write({OVERLAY_VIDEO: data})[OVERLAY_VIDEO])
            self._film.visible, self._picture.visible = True, False
            if left_out:
                ui.notify(left_out, type="warning", multi_line=True)

        ui.button(label, on_click=lambda: self._while_busy(work)).classes(name)

    def _table(self, name: str, columns: tuple[str, ...]) -> Any:
        rows = [{"name": column, "label": column, "field": column, "align": "left"} for column in columns]
        table = ui.table(columns=rows, rows=[]).props("dense flat").classes(f"w-full {name}")
        table.visible = False
        return table

    async def _taken(self, event: Any) -> None:
        """What was chosen or dropped, under its own name: messages speak of it."""

        async def work() -> None:
            path = Path(self._folder.name) / secrets.token_hex(8) / (Path(event.file.name).name or "file")
            await event.file.save(path)
            pixels = await to_thread(self._bench.take, path)
            before, self._taken_from = self._taken_from, path.parent
            shutil.rmtree(before, ignore_errors=True)
            self._image_hw = pixels.shape[:2]
            self._picture.content = ""
            self._show_picture(self._write({IMAGE: await to_thread(encode_png, pixels)})[IMAGE])

        await self._while_busy(work)
        event.sender.reset()

    async def _pointed(self, event: Any) -> None:
        at = (event.image_x, event.image_y)
        if event.type == "mousedown":
            self._down_xy = at
            return
        if not self._bench.offers(Regions) or self._image_hw == (0, 0):
            return
        asked = pointed_at(self._down_xy, at, self._image_hw)
        self._picture.content = _drawn(asked, self._image_hw)
        task = self._region_task.value
        await self._segment(lambda: Regions(asked.points_xy, asked.boxes_xyxy, task=task))

    async def _segment(self, request: Callable[[], SegmentationRequest], min_score: float = 0.0) -> None:
        async def work() -> None:
            self._show(await to_thread(self._bench.segment, request(), min_score))

        await self._while_busy(work)

    async def _while_busy(self, work: Callable[[], Awaitable[None]]) -> None:
        """One thing at a time for a visitor; what goes wrong on purpose is told in its own words."""
        if self._busy:
            ui.notify("the request before is still being worked on", type="warning")
            return
        self._busy = self._progress.visible = True
        try:
            await work()
        except HypersegError as error:
            told = re.sub(rf"{re.escape(self._folder.name)}/[0-9a-f]*/", "", str(error))
            ui.notify(told, type="negative", multi_line=True, timeout=10_000)
        finally:
            self._busy = self._progress.visible = False

    def _frame(self, done: int, count: int | None) -> None:
        """Called from the thread that works."""
        if count:
            self._progress.props(remove="indeterminate")
            self._progress.value = done / count

    def _show(self, found: Found) -> None:
        files = self._write({OVERLAY: found.overlay_png, MASK: found.mask_png, RESULT: found.json})
        self._show_picture(files[OVERLAY])
        self._parts.rows = [
            {"asked or found": label, "score": "" if score is None else f"{score:.4f}", "pixels": area}
            for label, score, area in found.rows
        ]
        self._times.rows = [{"stage": stage, "ms": f"{ms:.1f}"} for stage, ms in found.timings_ms.items()]
        self._parts.visible = self._times.visible = True

    def _show_picture(self, path: Path) -> None:
        self._picture.visible, self._film.visible = True, False
        self._picture.set_source(path)

    def _write(self, files: dict[str, bytes]) -> dict[str, Path]:
        """In place of all that was there to be saved; each under a new name, so that no browser shows an old one."""
        before, self._written = self._written, {}
        for name, data in files.items():
            self._written[name] = Path(self._folder.name) / f"{secrets.token_hex(8)}-{name}"
            self._written[name].write_bytes(data)
        for name, button in self._saves.items():
            button.visible = name in self._written
        for path in before.values():
            path.unlink(missing_ok=True)
        return self._written

    def _leave(self) -> None:
        self._folder.cleanup()
        self._bench.close()


def _task(tasks: tuple[str, ...]) -> Any:
    """Nothing to choose where there is one task."""
    chosen = ui.select(list(tasks), value=tasks[0], label="task")
    chosen.visible = len(tasks) > 1
    return chosen


def _listed(written: str | None) -> ClassList:
    return written_class_list((written or "").strip())


def _drawn(asked: Regions, image_hw: tuple[int, int]) -> str:
    """SVG in pixels of the image."""
    radius = max(2.0, max(image_hw) / POINT_RADIUS_SHARE)
    points = "".join(f'<circle cx="{x}" cy="{y}" r="{radius}" {MARK}/>' for x, y in asked.points_xy)
    boxes = "".join(
        f'<rect x="{x0}" y="{y0}" width="{x1 - x0}" height="{y1 - y0}" {MARK}/>' for x0, y0, x1, y1 in asked.boxes_xyxy
    )
    return points + boxes

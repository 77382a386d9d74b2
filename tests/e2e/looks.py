"""Looks: what only a picture or a computed style says: contrast, brightness, where the focus is."""

from __future__ import annotations

import base64

from playwright.sync_api import Page

CONTRASTS = """() => {
  const channels = (colour) => colour.match(/[\\d.]+/g).map(Number);
  const over = ([r, g, b, a = 1], under) => [r, g, b].map((c, i) => c * a + under[i] * (1 - a));
  const behind = (element) => {
    const layers = [];
    for (let at = element; at; at = at.parentElement) {
      layers.unshift(channels(getComputedStyle(at).backgroundColor));
    }
    return layers.reduce((under, layer) => over(layer, under), [255, 255, 255]);
  };
  const light = (colour) => {
    const [r, g, b] = colour.map((c) => c / 255)
      .map((c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  return [...document.querySelectorAll("[data-status]")].map((tag) => {
    const back = behind(tag);
    const [a, b] = [over(channels(getComputedStyle(tag).color), back), back].map(light);
    return [tag.dataset.status, (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05)];
  });
}"""

_FOCUS = """() => {
  const at = document.activeElement;
  if (!at || at === document.body) return "nothing has the focus";
  const box = at.getBoundingClientRect();
  const [x, y] = [box.left + box.width / 2, box.top + Math.min(box.height / 2, 20)];
  const top = document.elementFromPoint(x, y);
  if (!top || !(at.contains(top) || top.contains(at))) return "hidden or covered: " + at.outerHTML;
  // A field's ring may be drawn by the frame around it.
  for (let frame = at, depth = 0; frame && depth < 4; frame = frame.parentElement, depth += 1) {
    const { outlineStyle, outlineWidth, boxShadow } = getComputedStyle(frame);
    const hasRing = outlineStyle !== "none" && parseFloat(outlineWidth) > 0;
    if (hasRing || (frame !== at && boxShadow !== "none")) return "";
  }
  return "no ring: " + at.outerHTML.slice(0, 200);
}"""

_BRIGHTNESS = """async (source) => {
  const picture = new Image();
  picture.src = source;
  await picture.decode();
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [picture.width, picture.height];
  const drawing = canvas.getContext("2d");
  drawing.drawImage(picture, 0, 0);
  const { data } = drawing.getImageData(0, 0, canvas.width, canvas.height);
  let sum = 0;
  for (let at = 0; at < data.length; at += 4) sum += data[at] + data[at + 1] + data[at + 2];
  return sum / (data.length / 4) / 765;
}"""


def contrasts(page: Page) -> dict[str, float]:
    """The least contrast of the tags of each status that the page shows."""
    least: dict[str, float] = {}
    for status, contrast in page.evaluate(CONTRASTS):
        least[status] = min(contrast, least.get(status, contrast))
    return least


def focus_fault(page: Page) -> str:
    """What hides where the focus is; '' when it is seen."""
    return str(page.evaluate(_FOCUS))


def brightness(picture: bytes, blank: Page) -> float:
    """How light a picture is, 0 to 1, by an empty page that reads it."""
    source = f"data:image/png;base64,{base64.b64encode(picture).decode()}"
    return float(blank.evaluate(_BRIGHTNESS, source))

import { graphic, type EChartsType } from "echarts/core";
import { colour } from "./chart";

/** Tells what is chosen on a chart: one place by a click, several by a stroke over them. */
export function chosen(chart: EChartsType, tell: (first: number, last: number) => void): void {
  const zr = chart.getZr();
  let start: number | null = null;
  let stroke: InstanceType<typeof graphic.Rect> | undefined;

  const place = (x: number) => chart.convertFromPixel({ xAxisIndex: 0 }, x);
  function draw(x: number): void {
    if (start === null) return;
    const shape = { x: Math.min(start, x), y: 34, width: Math.abs(x - start), height: chart.getHeight() - 58 };
    if (stroke) return void stroke.attr({ shape });
    stroke = new graphic.Rect({ shape, style: { fill: colour("accent"), opacity: 0.18 }, silent: true, z: 100 });
    zr.add(stroke);
  }
  function end(): void {
    start = null;
    if (stroke) zr.remove(stroke);
    stroke = undefined;
  }
  zr.on("mousedown", ({ offsetX, offsetY }) => {
    if (chart.containPixel("grid", [offsetX, offsetY])) start = offsetX;
  });
  zr.on("mousemove", ({ offsetX }) => start !== null && Math.abs(offsetX - start) > 4 && draw(offsetX));
  zr.on("mouseup", ({ offsetX, offsetY }) => {
    const from = start;
    end();
    if (from === null || !chart.containPixel("grid", [offsetX, offsetY])) return;
    tell(place(Math.min(from, offsetX)), place(Math.max(from, offsetX)));
  });
  zr.on("globalout", end);
}

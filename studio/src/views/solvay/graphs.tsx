/** @file Memory, transfers and waiting over time, drawn by uPlot; each with its latest value in words. */
import "uplot/dist/uPlot.min.css";
import { useComputed } from "@preact/signals";
import { useEffect, useRef, useState } from "preact/hooks";
import type uPlot from "uplot";
import { number, t } from "../../messages/translate.ts";
import { notifyFailure } from "../../shell/notices.tsx";
import { bytesASecond, memory } from "./amounts.ts";
import { plan, type Sample, samples } from "./engine-state.ts";
import { loadPlot } from "./plot.ts";

const HEIGHT = 120;

type Plot = typeof uPlot;

export function Graphs() {
  const [loaded, setLoaded] = useState<{ readonly Plot: Plot } | undefined>();
  useEffect(() => {
    loadPlot().then((Plot) => setLoaded({ Plot }), notifyFailure);
  }, []);
  const { deviceBytes, ramBytes } = plan.value?.budgets ?? {};
  return (
    <div class="graphs">
      <Graph
        Plot={loaded?.Plot}
        title={t("solvay.vram")}
        value={(sample) => sample.deviceBytes}
        words={memory}
        limit={deviceBytes}
      />
      <Graph
        Plot={loaded?.Plot}
        title={t("solvay.ram")}
        value={(sample) => sample.ramBytes}
        words={memory}
        limit={ramBytes}
      />
      <Graph
        Plot={loaded?.Plot}
        title={t("solvay.transfer")}
        value={(sample) => sample.loadedRate}
        words={bytesASecond}
      />
      <Graph
        Plot={loaded?.Plot}
        title={t("solvay.waits")}
        value={(sample) => sample.waiting}
        words={(share) => number(share, { style: "percent" })}
        limit={1}
      />
    </div>
  );
}

interface GraphProps {
  /** Undefined: it is being loaded. */
  readonly Plot: Plot | undefined;
  readonly title: string;
  readonly value: (sample: Sample) => number;
  readonly words: (value: number) => string;
  /** The graph's top; default: the largest value. */
  readonly limit?: number | undefined;
}

function Graph({ Plot, title, value, words, limit }: GraphProps) {
  const box = useRef<HTMLDivElement>(null);
  const plot = useRef<uPlot | undefined>(undefined);
  const data = useComputed(() => [samples.value.map(({ atS }) => atS), samples.value.map(value)] as uPlot.AlignedData);
  const last = samples.value.at(-1);
  useEffect(() => {
    const element = box.current!;
    if (!Plot) return;
    const style = getComputedStyle(element);
    const colour = (name: string) => style.getPropertyValue(name).trim();
    const [ink, line, accent] = ["--ink-soft", "--line", "--accent"].map(colour) as [string, string, string];
    const axis = { stroke: () => resolved(element, ink), grid: { stroke: () => resolved(element, line), width: 1 } };
    const made = new Plot(
      {
        ...{ width: element.clientWidth, height: HEIGHT, legend: { show: false }, cursor: { show: false } },
        pxAlign: false,
        scales: {
          x: { time: false },
          y: { range: (_, __, largest) => [0, Math.max(limit ?? 0, largest ?? 0, Number.MIN_VALUE)] },
        },
        axes: [
          { show: false },
          {
            ...axis,
            size: 78,
            splits: (_, __, from, to) => [from, (from + to) / 2, to],
            values: (_, at) => at.map(words),
          },
        ],
        series: [
          {},
          {
            stroke: () => resolved(element, accent),
            fill: () => resolved(element, "var(--accent-soft)"),
            width: 1.5,
            points: { show: false },
          },
        ],
      },
      data.peek(),
      element,
    );
    plot.current = made;
    const observer = new ResizeObserver(() => made.setSize({ width: element.clientWidth, height: HEIGHT }));
    observer.observe(element);
    const dark = matchMedia("(prefers-color-scheme: dark)");
    const redraw = () => made.redraw();
    dark.addEventListener("change", redraw);
    return () => {
      observer.disconnect();
      dark.removeEventListener("change", redraw);
      made.destroy();
    };
  }, [limit, Plot]);
  useEffect(() => plot.current?.setData(data.value), [data.value]);
  return (
    <figure class="graph">
      <figcaption>
        <span>{title}</span>
        <b>{last ? words(value(last)) : ""}</b>
      </figcaption>
      <div ref={box} class="plot" dir="ltr" aria-hidden="true" />
    </figure>
  );
}

/** A canvas takes no light-dark() and no variables: an element says what they come to. */
function resolved(element: HTMLElement, colour: string): string {
  const probe = document.createElement("i");
  probe.style.color = colour;
  element.append(probe);
  const { color } = getComputedStyle(probe);
  probe.remove();
  return color;
}

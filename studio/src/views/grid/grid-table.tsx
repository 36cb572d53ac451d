/** @file A grid's cells as a table, one for each value of its third axis. */
import { useState } from "preact/hooks";
import { plainWords } from "../../api/client.ts";
import type { Job } from "../../api/types.ts";
import { maybe, t } from "../../messages/translate.ts";
import { JobPicture } from "../../parts/job-picture.tsx";
import { titleOf } from "../../parts/words.ts";
import { go } from "../../shell/route.ts";
import { endGrid, type Grid } from "../../state/grids.ts";
import { jobs } from "../../state/jobs.ts";
import { selected } from "../draw/drawing.ts";

const NO_AXIS: Grid["axes"][number] = { name: "", texts: [""] };
const CELL_REM = { min: 5, max: 24, start: 11 };

export function GridTable({ grid: { axes, cells, prompt, rest } }: { readonly grid: Grid }) {
  const [x = NO_AXIS, y = NO_AXIS, z = NO_AXIS] = axes;
  const [rem, setRem] = useState(CELL_REM.start);
  const done = cells.filter((id) => id !== null && jobs.value.get(id)?.state === "done").length;
  const later = cells.filter((id) => id === null).length;
  const cellOf = (column: number, row: number, sheet: number) =>
    jobs.value.get(cells[column + x.texts.length * (row + y.texts.length * sheet)] ?? "");
  return (
    <section class="grid" style={{ "--cell": `${rem}rem` }} aria-label={t("nav.grid")}>
      <div class="part-head">
        <h2 dir="auto">{prompt}</h2>
        <span class="hint">{t("grid.done", { done, count: cells.length })}</span>
        {rest && (
          <>
            <span class="hint">{t("grid.later", { count: later })}</span>
            <button type="button" class="quiet" onClick={endGrid}>
              {t("grid.leaveOut")}
            </button>
          </>
        )}
        <label class="grid-size">
          <span class="hidden">{t("grid.size")}</span>
          <input
            type="range"
            min={CELL_REM.min}
            max={CELL_REM.max}
            value={rem}
            onInput={({ currentTarget }) => setRem(Number(currentTarget.value))}
          />
        </label>
      </div>
      {z.texts.map((sheetText, sheet) => (
        <div key={sheetText} class="sheet-scroll">
          <table>
            {z !== NO_AXIS && (
              <caption>
                {nameOf(z.name)}: <bdi>{sheetText}</bdi>
              </caption>
            )}
            <thead>
              <tr>
                <td>{y === NO_AXIS ? nameOf(x.name) : `${nameOf(y.name)} / ${nameOf(x.name)}`}</td>
                {x.texts.map((text) => (
                  <th key={text} scope="col" dir="auto">
                    {text}
                  </th>
                ))}
              </tr>
            </thead>
            <tbody>
              {y.texts.map((rowText, row) => (
                <tr key={rowText}>
                  <th scope="row" dir="auto">
                    {rowText}
                  </th>
                  {x.texts.map((text, column) => (
                    <td key={text}>
                      <Cell job={cellOf(column, row, sheet)} />
                    </td>
                  ))}
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      ))}
    </section>
  );
}

function nameOf(name: string): string {
  return name === "prompt-sr" ? t("grid.words") : (maybe(`field.${name}`) ?? titleOf(name));
}

function Cell({ job }: { readonly job: Job | undefined }) {
  if (!job) return <div class="picture small" />;
  if (job.state === "failed") return <p class="wrong">{plainWords(job.error?.message ?? t("queue.failed"))}</p>;
  return (
    <button
      type="button"
      aria-label={t("draw.picture", { prompt: String(job.job.prompt ?? "") })}
      onClick={() => {
        selected.value = job.id;
        go("draw");
      }}
    >
      <JobPicture job={job} small />
    </button>
  );
}

/** @file A grid: the form's job with values of up to three fields, its cells coming alive as they are drawn. */
import "./grid.css";
import { useEffect } from "preact/hooks";
import { api } from "../../api/client.ts";
import { t } from "../../messages/translate.ts";
import { Icon } from "../../parts/icon.tsx";
import { titleOf } from "../../parts/words.ts";
import { useCommands } from "../../shell/commands.ts";
import { notifyFailure } from "../../shell/notices.tsx";
import { jobOfForm, prompt, rememberPrompt, schema, setField } from "../../state/form.ts";
import { type AxisForm, askGrid, axisForms, grid } from "../../state/grids.ts";
import { jobs, jobsKnown, learnJobs } from "../../state/jobs.ts";
import { GridTable } from "./grid-table.tsx";

const WORDS = "prompt-sr";
/** Fields of which a grid of values makes no sense. */
const UNFIT = ["picture", "loras", "files", "controls", "ipAdapters", "pictures"];
/** In the table's order. */
const AXIS_TITLES = ["grid.x", "grid.y", "grid.z"] as const;

export default function GridView() {
  useCommands(() => [{ title: t("grid.go"), run: drawGrid, keys: "Ctrl+Enter" }]);
  const shown = grid.value;
  const known = jobsKnown.value;
  // Cells of long ago are no longer in the list of jobs.
  useEffect(() => {
    const missing = known && shown ? shown.cells.filter((id) => id !== null && !jobs.peek().has(id)) : [];
    for (const id of missing)
      api.job(id!).then(
        (job) => learnJobs([job]),
        () => {},
      );
  }, [shown, known]);
  const submit = (event: Event) => {
    event.preventDefault();
    drawGrid();
  };
  return (
    <div class="page">
      <h1>{t("nav.grid")}</h1>
      <form class="grid-form" onSubmit={submit}>
        <label class="grid-prompt">
          <span>{t("field.prompt")}</span>
          <textarea
            dir="auto"
            rows={2}
            placeholder={t("draw.promptHint")}
            value={prompt.value}
            onInput={({ currentTarget }) => setField("prompt", currentTarget.value || undefined)}
          />
        </label>
        {axisForms.value.map((axis, at) => (
          <Axis key={AXIS_TITLES[at]} title={t(AXIS_TITLES[at]!)} axis={axis} onChange={(next) => setAxis(at, next)} />
        ))}
        <p class="hint">{t("grid.hint")}</p>
        <button type="submit" class="primary" disabled={!schema.value}>
          <Icon name="grid" />
          {t("grid.go")}
        </button>
      </form>
      {shown && <GridTable grid={shown} />}
    </div>
  );
}

function drawGrid(): void {
  if (!schema.peek()) return;
  rememberPrompt(prompt.peek());
  askGrid(jobOfForm()).catch(notifyFailure);
}

function setAxis(at: number, axis: AxisForm): void {
  axisForms.value = axisForms.peek().with(at, axis);
}

interface AxisProps {
  readonly title: string;
  readonly axis: AxisForm;
  readonly onChange: (axis: AxisForm) => void;
}

function Axis({ title, axis: { field, values }, onChange }: AxisProps) {
  const fields = (schema.value?.fields ?? []).filter(
    ({ group, kind }) => group !== undefined && !UNFIT.includes(kind.type),
  );
  const kind = fields.find(({ name }) => name === field)?.kind;
  const add = (value: string) => onChange({ field, values: values.trim() === "" ? value : `${values}, ${value}` });
  return (
    <fieldset class="axis">
      <legend>{title}</legend>
      <select
        aria-label={t("grid.field", { axis: title })}
        value={field}
        onChange={({ currentTarget }) => onChange({ field: currentTarget.value, values: "" })}
      >
        <option value="">{t("grid.none")}</option>
        <option value={WORDS}>{t("grid.words")}</option>
        {fields.map(({ name }) => (
          <option key={name} value={name}>
            {titleOf(name)}
          </option>
        ))}
      </select>
      <input
        type="text"
        dir="auto"
        aria-label={t("grid.values", { axis: title })}
        placeholder={field === WORDS ? t("grid.wordsHint") : kind?.values ? "" : "10, 20-40:10"}
        disabled={field === ""}
        value={values}
        onInput={({ currentTarget }) => onChange({ field, values: currentTarget.value })}
      />
      {kind?.values && (
        <select
          aria-label={t("grid.add", { axis: title })}
          value=""
          onChange={({ currentTarget }) => {
            if (currentTarget.value !== "") add(currentTarget.value);
          }}
        >
          <option value="">{t("grid.addOne")}</option>
          {kind.values.map((value) => (
            <option key={value} value={value}>
              {value}
            </option>
          ))}
        </select>
      )}
    </fieldset>
  );
}

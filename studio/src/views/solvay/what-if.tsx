/** @file What the form's job would take with other budgets and on other cards: the planner answers while the sliders move. */
import { signal } from "@preact/signals";
import { useEffect, useId, useState } from "preact/hooks";
import { plainWords } from "../../api/client.ts";
import {
  type DescribedMachine,
  machines,
  type Plan,
  type PlanRefused,
  type PlanVariant,
  plansOf,
} from "../../api/machine.ts";
import { t } from "../../messages/translate.ts";
import { Choice } from "../../parts/choice.tsx";
import { notifyFailure } from "../../shell/notices.tsx";
import { form, jobOfForm, schema } from "../../state/form.ts";
import { memory, span } from "./amounts.ts";
import { Reasons } from "./comparison-table.tsx";
import { plan } from "./engine-state.ts";
import { ResidencyMap } from "./residency-map.tsx";

const HERE = "here";
const ASK_MS = 120;
/** Exponents of two: 16 MiB to 32 GiB, in quarters. */
const RANGE = { min: 24, max: 35, step: 0.25 };

const card = signal(HERE);
/** Exponents; undefined: as it stands. */
const vram = signal<number | undefined>(undefined);
const ram = signal<number | undefined>(undefined);

function bytesOf(exponent: number | undefined): number | undefined {
  return exponent === undefined ? undefined : Math.round(2 ** exponent);
}

function isRefused(answer: Plan | PlanRefused): answer is PlanRefused {
  return "error" in answer;
}

/** Plans of the form's job, asked for when it and they have stood still for a moment. */
function usePlans(variants: readonly PlanVariant[], brief: boolean): readonly (Plan | PlanRefused)[] | undefined {
  const [plans, setPlans] = useState<readonly (Plan | PlanRefused)[] | undefined>();
  useEffect(() => {
    if (!schema.value || variants.length === 0) return;
    const stop = new AbortController();
    const timer = setTimeout(() => {
      plansOf(jobOfForm(), variants, { brief, signal: stop.signal }).then(setPlans, notifyFailure);
    }, ASK_MS);
    return () => {
      clearTimeout(timer);
      stop.abort();
    };
  }, [JSON.stringify(variants), form.value, schema.value]);
  return plans;
}

export function WhatIf() {
  const [known, setKnown] = useState<readonly DescribedMachine[]>([]);
  useEffect(() => {
    machines().then(setKnown, notifyFailure);
  }, []);
  const vramBytes = bytesOf(vram.value);
  const ramBytes = bytesOf(ram.value);
  const wanted: PlanVariant = {
    ...(vramBytes !== undefined && { vram: vramBytes }),
    ...(ramBytes !== undefined && { ram: ramBytes }),
    ...(card.value !== HERE && { as: card.value }),
  };
  const [chosen] = usePlans([wanted], false) ?? [];
  const cards = usePlans(known.length === 0 ? [] : [{}, ...known.map(({ name }) => ({ as: name }))], true);
  const standing = chosen && !isRefused(chosen) ? chosen.budgets : plan.value?.budgets;
  return (
    <>
      <div class="what-if-controls">
        <Choice
          label={t("solvay.card")}
          value={card.value}
          options={[[HERE, t("solvay.here")], ...known.map(({ name, hardware }) => [name, hardware] as const)]}
          onChange={(value) => {
            card.value = value;
          }}
        />
        <Budget name={t("solvay.vram")} state={vram} standing={standing?.deviceBytes} />
        <Budget name={t("solvay.ram")} state={ram} standing={standing?.ramBytes} />
      </div>
      {chosen && <Answer answer={chosen} />}
      {cards && <Cards answers={cards} names={[t("solvay.here"), ...known.map(({ hardware }) => hardware)]} />}
    </>
  );
}

interface BudgetProps {
  readonly name: string;
  readonly state: { value: number | undefined };
  readonly standing: number | undefined;
}

function Budget({ name, state, standing }: BudgetProps) {
  const id = useId();
  const value = state.value ?? (standing ? Math.log2(standing) : RANGE.max);
  const words = memory(bytesOf(state.value) ?? standing ?? 0);
  return (
    <div class="field">
      <label for={id}>{name}</label>
      <div class="number">
        <input
          id={id}
          type="range"
          {...RANGE}
          value={value}
          aria-valuetext={words}
          onInput={({ currentTarget }) => {
            state.value = Number(currentTarget.value);
          }}
        />
        <output>{words}</output>
        <button
          type="button"
          class="quiet"
          disabled={state.value === undefined}
          onClick={() => {
            state.value = undefined;
          }}
        >
          {t("solvay.standing")}
        </button>
      </div>
    </div>
  );
}

function Answer({ answer }: { readonly answer: Plan | PlanRefused }) {
  if (isRefused(answer)) {
    return (
      <p class="wrong" role="status" lang="en" dir="ltr">
        {plainWords(answer.error.message)}
      </p>
    );
  }
  const { predictedMs, peak, loadedBytes } = answer;
  return (
    <div class="what-if-answer">
      <p role="status">
        <b>{span(predictedMs)}</b>
        <span>{t("solvay.aPicture")}</span>
        <span>{t("solvay.takes", { vram: memory(peak.deviceBytes), ram: memory(peak.ramBytes) })}</span>
        <span>{t("solvay.moved", { amount: memory(loadedBytes) })}</span>
      </p>
      <ResidencyMap plan={answer} />
      <Reasons plan={answer} />
    </div>
  );
}

interface CardsProps {
  readonly answers: readonly (Plan | PlanRefused)[];
  readonly names: readonly string[];
}

function Cards({ answers, names }: CardsProps) {
  const longest = Math.max(1, ...answers.map((answer) => (isRefused(answer) ? 0 : answer.predictedMs)));
  return (
    <table class="phases">
      <caption>{t("solvay.cards")}</caption>
      <tbody>
        {answers.map((answer, at) => (
          <tr key={names[at]}>
            <th scope="row">{names[at]}</th>
            <td>
              {isRefused(answer) ? (
                <span class="wrong">{answer.error.code}</span>
              ) : (
                <span class="bar">
                  <span style={{ inlineSize: `${Math.max(1, (100 * answer.predictedMs) / longest)}%` }} />
                  {span(answer.predictedMs)}
                </span>
              )}
            </td>
            <td>{!isRefused(answer) && memory(answer.peak.deviceBytes)}</td>
          </tr>
        ))}
      </tbody>
    </table>
  );
}

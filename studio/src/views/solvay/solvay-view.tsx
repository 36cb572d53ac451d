/** @file The Solvay view: where the model's weights lie and move, what that costs, what was planned, and what other budgets and cards would bring. */
import "./solvay.css";
import { useEffect } from "preact/hooks";
import { t } from "../../messages/translate.ts";
import { notifyFailure } from "../../shell/notices.tsx";
import { model, schema } from "../../state/form.ts";
import { PlanAndMeasured } from "./comparison-table.tsx";
import { followWork, measured, plan, plannedJob, progress, refusal } from "./engine-state.ts";
import { Graphs } from "./graphs.tsx";
import { ResidencyMap } from "./residency-map.tsx";
import { WhatIf } from "./what-if.tsx";

export default function SolvayView() {
  const isReady = schema.value !== undefined;
  useEffect(() => (isReady ? followWork(notifyFailure) : undefined), [isReady]);
  const carried = plan.value;
  return (
    <div class="page solvay">
      <header class="solvay-head">
        <h1>{t("nav.solvay")}</h1>
        <p class="hint">
          {model.value && [model.value.adapter ?? model.value.backend, carried?.basis].filter(Boolean).join(" · ")}
        </p>
        <p class="doing" role="status">
          <Doing />
        </p>
      </header>
      {carried?.phases ? (
        <>
          <section class="panel" aria-labelledby="solvay-map">
            <h2 id="solvay-map">{t("solvay.map")}</h2>
            <p class="hint">{t(plannedJob.value === undefined ? "solvay.mapOfForm" : "solvay.mapHint")}</p>
            <ResidencyMap plan={carried} live />
          </section>
          <section class="panel" aria-labelledby="solvay-time">
            <h2 id="solvay-time">{t("solvay.overTime")}</h2>
            <Graphs />
          </section>
          <section class="panel" aria-labelledby="solvay-plan">
            <h2 id="solvay-plan">{t("solvay.planAndMeasured")}</h2>
            <PlanAndMeasured plan={carried} measured={measured.value} />
          </section>
        </>
      ) : refusal.value !== undefined ? (
        <p class="panel wrong" lang="en" dir="ltr">
          {refusal.value}
        </p>
      ) : (
        <p class="empty">{t("app.loading")}</p>
      )}
      {isReady && (carried?.phases || refusal.value !== undefined) && (
        <section class="panel" aria-labelledby="solvay-if">
          <h2 id="solvay-if">{t("solvay.whatIf")}</h2>
          <p class="hint">{t("solvay.whatIfHint")}</p>
          <WhatIf />
        </section>
      )}
    </div>
  );
}

function Doing() {
  const now = progress.value;
  if (!now) return <>{t("solvay.idle")}</>;
  const { title, step, steps } = now;
  return (
    <>
      <b>{title}</b>
      {step !== undefined && <span>{t("draw.step", { step, steps: steps ?? 0 })}</span>}
    </>
  );
}

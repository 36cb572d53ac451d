/** @file The plan beside what the last picture took, phase by phase, with the reasons for what was chosen. */
import type { Measured, PhasePlan, Plan } from "../../api/machine.ts";
import { t } from "../../messages/translate.ts";
import { memory, span } from "./amounts.ts";

/** Bands of one graph are passes of their own in a plan, and one in what was measured. */
function wholeId(pass: string): string {
  return pass.split(":")[0]!;
}

interface Times {
  readonly plannedMs: number;
  readonly measuredMs: number | undefined;
  readonly waitMs: number | undefined;
}

function timesOf({ passes }: PhasePlan, measured: Measured | undefined): Times {
  const plannedMs = passes.reduce((sum, { predictedMs, repeats }) => sum + predictedMs * repeats, 0);
  const ids = new Set(passes.map(({ id }) => wholeId(id)));
  const found = measured?.passes.filter(({ pass }) => ids.has(pass)) ?? [];
  if (found.length === 0) return { plannedMs, measuredMs: undefined, waitMs: undefined };
  const sum = (of: (pass: Measured["passes"][number]) => number) => found.reduce((total, pass) => total + of(pass), 0);
  return { plannedMs, measuredMs: sum(({ totalMs }) => totalMs), waitMs: sum(({ waitMs }) => waitMs) };
}

export function PlanAndMeasured({ plan, measured }: { readonly plan: Plan; readonly measured: Measured | undefined }) {
  const phases = plan.phases ?? [];
  const rows = phases.map((phase) => ({ phase, ...timesOf(phase, measured) }));
  const longest = Math.max(1, ...rows.flatMap(({ plannedMs, measuredMs = 0 }) => [plannedMs, measuredMs]));
  return (
    <>
      <table class="phases">
        <thead>
          <tr>
            <th scope="col">{t("solvay.phase")}</th>
            <th scope="col">{t("solvay.planned")}</th>
            <th scope="col">{t("solvay.measured")}</th>
          </tr>
        </thead>
        <tbody>
          {rows.map(({ phase, plannedMs, measuredMs, waitMs }) => (
            <tr key={phase.id}>
              <th scope="row">{phase.title}</th>
              <td>
                <Bar ms={plannedMs} longest={longest} />
              </td>
              <td>
                {measuredMs === undefined ? "–" : <Bar ms={measuredMs} longest={longest} measured />}
                {waitMs !== undefined && waitMs >= 1 && (
                  <span class="hint">{t("solvay.waited", { time: span(waitMs) })}</span>
                )}
              </td>
            </tr>
          ))}
          {plan.peak && (
            <>
              <Peak name={t("solvay.vram")} planned={plan.peak.deviceBytes} measured={measured?.peakDeviceBytes} />
              <Peak name={t("solvay.ram")} planned={plan.peak.ramBytes} measured={measured?.peakRamBytes} />
            </>
          )}
        </tbody>
      </table>
      <Reasons plan={plan} />
    </>
  );
}

function Peak(peak: { readonly name: string; readonly planned: number; readonly measured: number | undefined }) {
  return (
    <tr>
      <th scope="row">{t("solvay.peak", { name: peak.name })}</th>
      <td>{memory(peak.planned)}</td>
      <td>{peak.measured === undefined ? "–" : memory(peak.measured)}</td>
    </tr>
  );
}

interface BarProps {
  readonly ms: number;
  readonly longest: number;
  readonly measured?: boolean;
}

function Bar({ ms, longest, measured = false }: BarProps) {
  return (
    <span class={measured ? "bar measured" : "bar"}>
      <span style={{ inlineSize: `${Math.max(1, (100 * ms) / longest)}%` }} />
      {span(ms)}
    </span>
  );
}

export function Reasons({ plan }: { readonly plan: Plan }) {
  const phases = (plan.phases ?? []).filter(({ reasons }) => reasons.length > 0);
  return (
    <dl class="reasons">
      {phases.map(({ id, title, reasons }) => (
        <div key={id}>
          <dt>{title}</dt>
          {/* The planner's words are English. */}
          {reasons.map((reason) => (
            <dd key={reason} lang="en" dir="ltr">
              {reason}
            </dd>
          ))}
        </div>
      ))}
    </dl>
  );
}

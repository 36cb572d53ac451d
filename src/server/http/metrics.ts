/** @file What Prometheus reads at /metrics: the queue, the pictures, what they moved, the requests, and the process's own figures. */
import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from "prom-client";
import type { GenerateEvent } from "../../job/types.ts";
import type { JobQueue } from "../queue/job-queue.ts";
import { JOB_STATES } from "../queue/job-record.ts";

type ImageEvent = Extract<GenerateEvent, { type: "image" }>;

export class Metrics {
  readonly #registry = new Registry();
  readonly #requests: Counter;
  readonly #pictures: Counter;
  readonly #seconds: Histogram;
  readonly #moved: Counter;
  readonly #movedEach: Histogram;
  readonly #sideBySide: Histogram;
  readonly #peak: Gauge;

  constructor(queue: JobQueue, databaseBytes: number) {
    const registers = [this.#registry];
    collectDefaultMetrics({ register: this.#registry });
    this.#requests = new Counter({
      ...{ name: "solvay_http_requests_total", help: "Answers, by method and status", registers },
      labelNames: ["method", "status"],
    });
    this.#pictures = new Counter({ name: "solvay_pictures_total", help: "Pictures drawn by this process", registers });
    this.#seconds = new Histogram({
      ...{ name: "solvay_picture_seconds", help: "Time of a picture, without waiting and loading", registers },
      buckets: [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000],
    });
    this.#moved = new Counter({
      ...{ name: "solvay_weights_moved_bytes_total", help: "Weights that were brought to the device", registers },
    });
    this.#movedEach = new Histogram({
      ...{ name: "solvay_picture_weights_moved_bytes", help: "Of them, a picture's part", registers },
      buckets: [0, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12],
    });
    this.#sideBySide = new Histogram({
      ...{ name: "solvay_pictures_a_pass", help: "Pictures that shared a picture's passes over weights", registers },
      buckets: [1, 2, 3, 4, 6, 8],
    });
    this.#peak = new Gauge({
      ...{
        name: "solvay_peak_bytes",
        help: "Most that the last picture's ledger held",
        registers,
        labelNames: ["tier"],
      },
    });
    new Gauge({ name: "solvay_database_bytes", help: "Counted for the embedded database", registers }).set(
      databaseBytes,
    );
    new Gauge({
      ...{ name: "solvay_jobs", help: "Jobs in the database, by state", registers, labelNames: ["state"] },
      async collect() {
        const counts = await queue.counts();
        for (const state of JOB_STATES) this.set({ state }, counts[state] ?? 0);
      },
    });
  }

  request(method: string, status: number): void {
    this.#requests.inc({ method, status });
  }

  /** `sideBySide`: with how many, itself included, it shared its passes. */
  image({ elapsedMs, passes, peakDeviceBytes, peakRamBytes }: ImageEvent, sideBySide: number): void {
    const movedBytes = passes.reduce((sum, { loadedBytes }) => sum + loadedBytes, 0);
    this.#pictures.inc();
    this.#seconds.observe(elapsedMs / 1000);
    this.#moved.inc(movedBytes);
    this.#movedEach.observe(movedBytes);
    this.#sideBySide.observe(sideBySide);
    this.#peak.set({ tier: "device" }, peakDeviceBytes);
    this.#peak.set({ tier: "ram" }, peakRamBytes);
  }

  async answer(): Promise<Response> {
    const text = await this.#registry.metrics();
    return new Response(text, { headers: { "content-type": this.#registry.contentType } });
  }
}

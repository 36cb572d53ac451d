/** @file What lies on the server's machine: models, adapters with their words and pictures, imports. */
import { ask } from "./client.ts";

export interface LibraryModel {
  readonly name: string;
  /** Jobs may name it. */
  readonly served: boolean;
  /** Meant where none is named. */
  readonly standing?: boolean;
  readonly open?: boolean;
  /** It can be put into the block store. */
  readonly importable: boolean;
  /** Why it can't be used. */
  readonly problem?: string;
}

export interface Adapter {
  readonly id: string;
  readonly kind: "lora" | "embedding";
  readonly name: string;
  readonly folder: string;
  readonly bytes: number;
  readonly what: string;
  readonly triggers: readonly string[];
  readonly tags: readonly string[];
  readonly pictured: boolean;
  readonly problem?: string;
}

export interface ImportState {
  readonly id: string;
  readonly model: string;
  readonly state: "waiting" | "running" | "done" | "failed" | "cancelled";
  readonly doneBytes: number;
  readonly totalBytes: number;
  readonly error?: { readonly message: string };
}

export interface Library {
  readonly models: readonly LibraryModel[];
  readonly adapters: readonly Adapter[];
  readonly imports: readonly ImportState[];
}

export function askLibrary(): Promise<Library> {
  return ask<Library>("/api/library");
}

export function beginImport(model: string): Promise<ImportState> {
  return ask<ImportState>("/api/library/import", { json: { model } });
}

export function cancelImport(id: string): Promise<ImportState> {
  return ask<ImportState>(`/api/library/imports/${id}/cancel`, { method: "POST" });
}

export function pictureOfAdapter(id: string): string {
  return `/api/library/${id}/thumbnail`;
}

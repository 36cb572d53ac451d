/** @file The `webgpu` device against the reference backend: the shared cases. */
import { conformanceTests } from "./conformance.ts";
import { deviceBackend } from "./device-backend.ts";
import { findTestAdapter, openTestDevice } from "./software-vulkan.ts";

const adapter = await findTestAdapter();
conformanceTests("webgpu", async () => deviceBackend(await openTestDevice(adapter)), adapter.skip);

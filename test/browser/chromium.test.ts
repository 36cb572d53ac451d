/** @file The browser that tests have: what it can do, so that what runs in it later may count on that. */
import assert from "node:assert/strict";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { test } from "node:test";
import { launchChromium, noBrowser } from "./chromium.ts";

const options = noBrowser === undefined ? {} : { skip: `skipped: ${noBrowser}` };

test("a page of 127.0.0.1 has WebGPU on SwiftShader, and files of its own", options, async () => {
  const server = createServer((_, response) => {
    response.setHeader("content-type", "text/html; charset=utf-8");
    response.end("<!doctype html><title>solvay</title>");
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const browser = await launchChromium();
  try {
    const page = await browser.newPage();
    await page.goto(`http://127.0.0.1:${(server.address() as AddressInfo).port}/`);
    const found = await page.evaluate(async () => {
      const adapter = await navigator.gpu?.requestAdapter();
      const device = await adapter?.requestDevice();
      // One number doubled: that there is an adapter doesn't say that it computes.
      let doubled: number | undefined;
      if (device) {
        const code =
          "@group(0) @binding(0) var<storage, read_write> x: array<f32>; @compute @workgroup_size(1) fn main() { x[0] *= 2; }";
        const pipeline = device.createComputePipeline({
          layout: "auto",
          compute: { module: device.createShaderModule({ code }) },
        });
        const { STORAGE, COPY_SRC, COPY_DST, MAP_READ } = GPUBufferUsage;
        const buffer = device.createBuffer({ size: 4, usage: STORAGE | COPY_SRC | COPY_DST });
        const result = device.createBuffer({ size: 4, usage: COPY_DST | MAP_READ });
        device.queue.writeBuffer(buffer, 0, Float32Array.of(21));
        const encoder = device.createCommandEncoder();
        const pass = encoder.beginComputePass();
        pass.setPipeline(pipeline);
        const entries = [{ binding: 0, resource: { buffer } }];
        pass.setBindGroup(0, device.createBindGroup({ layout: pipeline.getBindGroupLayout(0), entries }));
        pass.dispatchWorkgroups(1);
        pass.end();
        encoder.copyBufferToBuffer(buffer, 0, result, 0, 4);
        device.queue.submit([encoder.finish()]);
        await result.mapAsync(GPUMapMode.READ);
        doubled = new Float32Array(result.getMappedRange())[0];
        device.destroy();
      }
      const folder = await navigator.storage.getDirectory();
      const file = await folder.getFileHandle("weights", { create: true });
      const writable = await file.createWritable();
      await writable.write(Uint8Array.of(1, 2, 3));
      await writable.close();
      const bytes = [...new Uint8Array(await (await file.getFile()).arrayBuffer())];
      return { architecture: adapter?.info.architecture, doubled, bytes };
    });
    assert.deepEqual(found, { architecture: "swiftshader", doubled: 42, bytes: [1, 2, 3] });
  } finally {
    await browser.close();
    await new Promise((resolve) => server.close(resolve));
  }
});

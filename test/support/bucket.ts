/** @file A bucket that speaks S3, in this process (npm package s3rver): its signatures are looked at by s3-store.test.ts, not by it. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import S3rver from "s3rver";

/** The only keys that s3rver knows. */
export const BUCKET_KEY = "S3RVER";

export interface TestBucket extends AsyncDisposable {
  readonly name: string;
  readonly env: Readonly<Record<string, string>>;
  /** Stops answering, and answers again. */
  readonly stop: () => Promise<void>;
  readonly start: () => Promise<void>;
}

export async function testBucket(): Promise<TestBucket> {
  const directory = mkdtempSync(path.join(tmpdir(), "solvay-bucket-"));
  const name = "pictures";
  const configureBuckets = [{ name, configs: [] }];
  const open = (port: number) =>
    new S3rver({ ...{ port, address: "127.0.0.1", silent: true, directory, configureBuckets }, vhostBuckets: false });
  let server = open(0);
  const { port } = await server.run();
  const env = {
    AWS_ENDPOINT_URL: `http://127.0.0.1:${port}`,
    AWS_ACCESS_KEY_ID: BUCKET_KEY,
    AWS_SECRET_ACCESS_KEY: BUCKET_KEY,
  };
  return {
    ...{ name, env },
    stop: () => server.close(),
    async start() {
      server = open(port);
      await server.run();
    },
    async [Symbol.asyncDispose]() {
      await server.close().catch(() => {});
      rmSync(directory, { recursive: true, force: true });
    },
  };
}

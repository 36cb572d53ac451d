/** @file The program that makes an empty database in the folder that it is given: see database-folder.ts. */
import { openPglite } from "./pglite.ts";

await (await openPglite(process.argv[2]!)).close();

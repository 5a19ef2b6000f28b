// Fails the build when the console's JavaScript grows beyond what it may weigh, gzipped.
import { readdirSync, readFileSync } from "node:fs";
import { gzipSync } from "node:zlib";

const LIMIT_BYTES = 120 * 1024;
const dir = new URL("../dist/assets/", import.meta.url);
let total = 0;
for (const name of readdirSync(dir).sort()) {
  const bytes = gzipSync(readFileSync(new URL(name, dir))).length;
  if (name.endsWith(".js")) total += bytes;
  console.log(`${name}  ${(bytes / 1024).toFixed(1)} KiB gzipped`);
}
if (total > LIMIT_BYTES) {
  console.error(`JavaScript: ${(total / 1024).toFixed(1)} KiB gzipped, more than ${LIMIT_BYTES / 1024} KiB`);
  process.exit(1);
}

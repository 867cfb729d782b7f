// Run check.py in Pyodide. Usage: node run.mjs <checkout> <directory of the installed dependencies>
import { loadPyodide } from "pyodide";
import { join } from "node:path";

const [checkout, site] = process.argv.slice(2);
const pyodide = await loadPyodide();

// Only these directories: what else lies in the checkout must not be importable.
const mounts = {
  "/checkout/jockey": join(checkout, "jockey"),
  "/check": join(checkout, "tests/pyodide"),
  "/site": site,
};
for (const [inside, outside] of Object.entries(mounts)) {
  pyodide.FS.mkdirTree(inside);
  pyodide.FS.mount(pyodide.FS.filesystems.NODEFS, { root: outside }, inside);
}
pyodide.runPython("import sys; sys.dont_write_bytecode = True; sys.path[:0] = ['/checkout', '/check', '/site']");

// A hang must not be waited for; while Node has nothing else to wait for, this does not keep it.
setTimeout(() => {
  console.error("the jobs have not ended after two minutes");
  process.exit(1);
}, 120_000).unref();

try {
  await pyodide.runPythonAsync("import check; await check.main()");
} catch (error) {
  console.error(error.message);
  process.exit(1);
}
// The executor is closed; whatever still keeps Node alive is Pyodide's own.
process.exit(0);

/**
 * Prints the line that ends a CI run, `N passed, N failed`, from vitest's JSON reports and the exit codes of their runs,
 * given in pairs. Exits with 1 unless every test passed and each run had at least one. What failed outside of a test (a
 * check, the build, a file that does not load, an error that nobody caught) counts as one failure of its run. Tests that
 * passed only when they were tried again are named before it, so that none of them hides. Tests that were skipped for want
 * of something are failures in CI: what is missing there is to be installed.
 */
import { readFileSync } from 'node:fs';

const isRoot = process.getuid?.() === 0;

/** Tests that this user may skip, by their file and the end of their name: root may read and write everything. */
const maySkip = isRoot
  ? [
      ['config/rules.test.ts', 'TLS takes files that this user may read'],
      ['audit/spool-file.test.ts', 'accepts nothing, and goes on when it works again'],
    ]
  : // Nobody else becomes another user.
    [['storage/embedded-root.test.ts', '']];

const args = process.argv.slice(2);
const runs = args.flatMap((path, at) => (at % 2 === 0 ? [judge(readReport(path), args[at + 1])] : []));
const sum = (of) => runs.reduce((total, run) => total + of(run), 0);
const passed = sum((run) => run.passed);
const failed = sum((run) => run.failed);

for (const name of runs.flatMap((run) => run.skipped)) console.log(`skipped, but must not be: ${name}`);
for (const name of runs.flatMap((run) => run.passedOnlyAgain)) console.log(`needed another attempt: ${name}`);
console.log(`${passed} passed, ${failed} failed`);
process.exitCode = failed === 0 && passed > 0 ? 0 : 1;

function judge({ testResults, numPassedTests, numFailedTests }, status) {
  const brokenFiles = testResults.filter((file) => file.status === 'failed' && file.assertionResults.length === 0);
  const failedInTests = numFailedTests + brokenFiles.length;
  const skipped = process.env['CI'] ? skippedIn(testResults) : [];
  const isUnexplained = failedInTests === 0 && (status !== '0' || numPassedTests === 0);
  const passedOnlyAgain = testResults
    .flatMap((file) => file.assertionResults)
    .filter((test) => test.status === 'passed' && test.failureMessages.length > 0)
    .map((test) => test.fullName);
  const failed = (isUnexplained ? 1 : failedInTests) + skipped.length;
  return { passed: numPassedTests, failed, passedOnlyAgain, skipped };
}

/** Of files that ran; where a file broke, its tests are skipped for that reason, which counts already. */
function skippedIn(testResults) {
  return testResults
    .filter((file) => file.status !== 'failed')
    .flatMap((file) => file.assertionResults.map((test) => ({ ...test, file: file.name })))
    .filter((test) => ['skipped', 'pending', 'todo', 'disabled'].includes(test.status))
    .filter((test) => !maySkip.some(([path, end]) => test.file.endsWith(path) && test.fullName.endsWith(end)))
    .map((test) => test.fullName);
}

function readReport(path) {
  try {
    return JSON.parse(readFileSync(path, 'utf8'));
  } catch {
    return { numPassedTests: 0, numFailedTests: 0, testResults: [] };
  }
}

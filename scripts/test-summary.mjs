/**
 * Prints the line that ends a CI run, `N passed, N failed`, from vitest's JSON reports and the exit codes of their runs,
 * given in pairs. Exits with 1 unless every test passed and each run had at least one. What failed outside of a test (a
 * check, the build, a file that does not load, an error that nobody caught) counts as one failure of its run. Tests that
 * passed only when they were tried again are named before it, so that none of them hides.
 */
import { readFileSync } from 'node:fs';

const args = process.argv.slice(2);
const runs = args.flatMap((path, at) => (at % 2 === 0 ? [judge(readReport(path), args[at + 1])] : []));
const sum = (of) => runs.reduce((total, run) => total + of(run), 0);
const passed = sum((run) => run.passed);
const failed = sum((run) => run.failed);

for (const name of runs.flatMap((run) => run.passedOnlyAgain)) console.log(`needed another attempt: ${name}`);
console.log(`${passed} passed, ${failed} failed`);
process.exitCode = failed === 0 && passed > 0 ? 0 : 1;

function judge({ testResults, numPassedTests, numFailedTests }, status) {
  const brokenFiles = testResults.filter((file) => file.status === 'failed' && file.assertionResults.length === 0);
  const failedInTests = numFailedTests + brokenFiles.length;
  const isUnexplained = failedInTests === 0 && (status !== '0' || numPassedTests === 0);
  const passedOnlyAgain = testResults
    .flatMap((file) => file.assertionResults)
    .filter((test) => test.status === 'passed' && test.failureMessages.length > 0)
    .map((test) => test.fullName);
  return { passed: numPassedTests, failed: isUnexplained ? 1 : failedInTests, passedOnlyAgain };
}

function readReport(path) {
  try {
    return JSON.parse(readFileSync(path, 'utf8'));
  } catch {
    return { numPassedTests: 0, numFailedTests: 0, testResults: [] };
  }
}

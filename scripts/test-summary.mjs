/**
 * Prints the line that ends a CI run, `N passed, N failed`, from vitest's JSON report and the exit code of the run.
 * Exits with 1 unless every test passed and there was at least one. What failed outside of a test (a check, the build,
 * a file that does not load, an error that nobody caught) counts as one failure. Tests that passed only when they were
 * tried again are named before it, so that none of them hides.
 */
import { readFileSync } from 'node:fs';

const [path, status] = process.argv.slice(2);
const report = readReport(path);
const brokenFiles = report.testResults.filter((file) => file.status === 'failed' && file.assertionResults.length === 0);
const failedInTests = report.numFailedTests + brokenFiles.length;
const passedOnlyAgain = report.testResults
  .flatMap((file) => file.assertionResults)
  .filter((test) => test.status === 'passed' && test.failureMessages.length > 0)
  .map((test) => test.fullName);
const failed = failedInTests === 0 && status !== '0' ? 1 : failedInTests;

for (const name of passedOnlyAgain) console.log(`needed another attempt: ${name}`);
console.log(`${report.numPassedTests} passed, ${failed} failed`);
process.exitCode = failed === 0 && report.numPassedTests > 0 ? 0 : 1;

function readReport(file) {
  try {
    return JSON.parse(readFileSync(file, 'utf8'));
  } catch {
    return { numPassedTests: 0, numFailedTests: 0, testResults: [] };
  }
}

/** `talos migrate`: brings the database to the version of this build, as its owner, and makes the roles of it. */
import type { Command } from 'commander';
import { migrate } from '../../src/storage/migrate.ts';
import { rolesOf } from '../../src/storage/roles.ts';
import { withDatabase } from '../open-database.ts';
import { reportingUsage, UsageError } from '../usage-error.ts';

interface Options {
  /** True without a prefix. */
  readonly roles?: string | true;
}

const defaultPrefix = 'talos';

export function migrateCommand(program: Command): void {
  const command = program
    .command('migrate')
    .description(
      'Bring the database to the version of this build, as the user that owns its tables. A gateway that is not the owner needs it before it starts.',
    )
    .option(
      '--roles [prefix]',
      `also make the roles <prefix>_owner, <prefix>_writer and <prefix>_reader (${defaultPrefix} without a prefix) and give the tables to the owner; once, as an administrator`,
    );
  command.action(reportingUsage(command, ({ roles }: Options) => run(roles === true ? defaultPrefix : roles)));
}

async function run(rolePrefix: string | undefined): Promise<void> {
  if (rolePrefix !== undefined) assertPrefix(rolePrefix);
  await withDatabase(async ({ database }) => {
    const { version, owner } = await migrate(database, rolePrefix === undefined ? {} : { rolePrefix });
    console.log(`The database is at version ${version}; ${owner} owns it.`);
    if (rolePrefix === undefined) return;
    const { writer, reader } = rolesOf(rolePrefix);
    console.log(`Make login roles members: GRANT ${writer} TO … for gateways, ${reader} for who only reads.`);
  });
}

function assertPrefix(prefix: string): void {
  try {
    rolesOf(prefix);
  } catch (error) {
    throw new UsageError(error instanceof Error ? error.message : String(error));
  }
}

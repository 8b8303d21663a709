import { parseCommand } from '../options.ts'
import type { ServeOptions } from '../serve-options.ts'
import { UsageError } from '../usage-error.ts'

/** What the flags of `serve` say; secrets of the environment stay there. Throws {@link UsageError}. */
export async function optionsOf (given: readonly string[]): Promise<ServeOptions> {
  const command = await parseCommand(['serve', ...given], {})
  if (command.name !== 'serve') throw new UsageError('init takes the options of serve')
  return command.options
}

import { existsSync } from 'node:fs'
import { writeFile } from 'node:fs/promises'
import { extname } from 'node:path'
import { parseArgs } from 'node:util'
import { flags } from '../options.ts'
import { UsageError } from '../usage-error.ts'
import { optionsOf } from './flags.ts'
import { askForFlags } from './questions.ts'
import { type Format, formats, writeConfig } from './write.ts'

const { config: _config, watch: _watch, workers: _workers, help: _help, version: _version, ...optionFlags } = flags

/** What was asked for on the command line of `init`. */
interface Request {
  readonly file: string
  readonly format: Format
  readonly force: boolean
  /** Flags of `serve`, as they stand on a command line. */
  readonly flags: readonly string[]
}

/** Writes a starting file, from flags or from answers. Throws {@link UsageError}. */
export async function init (args: readonly string[]): Promise<void> {
  const { file, format, force, flags: given } = parseInit(args)
  // Before anything is asked, and once more when it is written.
  if (!force && existsSync(file)) throw new UsageError(`${file} is there already: --force replaces it`)
  const asked = given.some((flag) => flag.startsWith('--upstream=')) ? given : await askForFlags(given)
  const text = writeConfig(await optionsOf(asked), format, file)
  try {
    await writeFile(file, text, { flag: force ? 'w' : 'wx' })
  } catch (error) {
    throw new UsageError(`${file} cannot be written: ${(error as Error).message}`)
  }
  process.stdout.write(`${file} is written. Next:\n  headgate check-config ${file}\n  headgate serve -c ${file}\n`)
}

function parseInit (args: readonly string[]): Request {
  let parsed
  try {
    parsed = parseArgs({ args: [...args], options: { ...optionFlags, format: { type: 'string' }, force: { type: 'boolean' } }, allowPositionals: true })
  } catch (error) {
    throw new UsageError((error as Error).message.split('. ')[0]!)
  }
  const { values: { format: wanted, force = false, ...rest }, positionals: [file, ...more] } = parsed
  if (more.length > 0) throw new UsageError(`'${more[0]!}' is not expected: init writes one file`)
  const extension = file === undefined ? undefined : extname(file).slice(1).replace('yml', 'yaml').replace('mts', 'ts')
  const format = wanted ?? extension ?? 'yaml'
  if (!isFormat(format)) throw new UsageError(`${wanted === undefined ? 'the file' : '--format'} must be ${formats.join(', ')}; it is '${format}'`)
  if (extension !== undefined && extension !== format) throw new UsageError(`--format ${format} does not go with the name ${file!}`)
  return { file: file ?? `headgate.config.${format}`, format, force, flags: written(rest) }
}

const isFormat = (text: string): text is Format => (formats as readonly string[]).includes(text)

/** Parsed flags as a command line again. */
function written (values: Readonly<Record<string, string | boolean | readonly (string | boolean)[] | undefined>>): string[] {
  return Object.entries(values).flatMap(([name, value]) => [value ?? []].flat().map((one) => one === true ? `--${name}` : `--${name}=${String(one)}`))
}

import { parseArgs } from 'node:util'
import { UsageError } from '../usage-error.ts'

export const COMMANDS = ['top', 'drain', 'maintenance', 'up', 'auto', 'weight', 'add', 'remove', 'split', 'close', 'open', 'purge', 'explain', 'check-config', 'import'] as const
export type CommandName = (typeof COMMANDS)[number]

export interface ClientCommand {
  readonly name: CommandName
  readonly args: readonly string[]
  readonly url: string
  readonly token: string | undefined
  readonly pool: string | undefined
  readonly once: boolean
  readonly json: boolean
  readonly all: boolean
  readonly tags: readonly string[]
  readonly headers: readonly string[]
  readonly reason: string | undefined
}

const flags = {
  url: { type: 'string' }, pool: { type: 'string' }, once: { type: 'boolean' }, json: { type: 'boolean' }, all: { type: 'boolean' },
  tag: { type: 'string', multiple: true }, header: { type: 'string', multiple: true }, reason: { type: 'string' },
  config: { type: 'string', short: 'c' }
} as const

interface Shape {
  readonly usage: string
  readonly least: number
  readonly most: number
  readonly flags: readonly (keyof typeof flags)[]
}

/** What each command takes: the words after it, and its flags beside `--url`. */
const SHAPES: Readonly<Record<CommandName, Shape>> = {
  top: { usage: 'top', least: 0, most: 0, flags: ['once', 'json', 'pool'] },
  drain: { usage: 'drain UPSTREAM', least: 1, most: 1, flags: ['pool', 'reason'] },
  maintenance: { usage: 'maintenance UPSTREAM', least: 1, most: 1, flags: ['pool', 'reason'] },
  up: { usage: 'up UPSTREAM', least: 1, most: 1, flags: ['pool', 'reason'] },
  auto: { usage: 'auto UPSTREAM', least: 1, most: 1, flags: ['pool', 'reason'] },
  weight: { usage: 'weight UPSTREAM WEIGHT', least: 2, most: 2, flags: ['pool'] },
  add: { usage: "add 'URL;weight=2' --pool POOL", least: 1, most: 1, flags: ['pool'] },
  remove: { usage: 'remove UPSTREAM', least: 1, most: 1, flags: ['pool'] },
  split: { usage: 'split [NAME POOL=WEIGHT …]', least: 0, most: 1000, flags: ['json'] },
  close: { usage: 'close PREFIX…, or --all', least: 0, most: 1000, flags: ['all'] },
  open: { usage: 'open PREFIX…, or --all', least: 0, most: 1000, flags: ['all'] },
  purge: { usage: 'purge URL…, --tag TAG or --all', least: 0, most: 1000, flags: ['tag', 'all'] },
  explain: { usage: 'explain [METHOD] PATH', least: 1, most: 2, flags: ['header', 'json'] },
  'check-config': { usage: 'check-config [FILE], or check-config --config FILE', least: 0, most: 1, flags: ['config'] },
  import: { usage: 'import nginx FILE, or import haproxy FILE', least: 2, most: 2, flags: [] }
}

export const isClientCommand = (name: string | undefined): name is CommandName => (COMMANDS as readonly (string | undefined)[]).includes(name)

/** `POOL=WEIGHT` and more of them. Throws {@link UsageError}. */
export function parseShares (texts: readonly string[], wanted: boolean): Record<string, number> {
  if (wanted && texts.length === 0) throw new UsageError(`'split' is used so: headgate ${SHAPES.split.usage}`)
  return Object.fromEntries(texts.map((text) => {
    // Names of pools may hold any character.
    const [, pool, weight] = /^(.+)=(\d+(?:\.\d+)?)$/s.exec(text) ?? []
    if (pool === undefined) throw new UsageError(`a share must be POOL=WEIGHT, with a weight of 0 or more; it is '${text}'`)
    return [pool, Number(weight)]
  }))
}

/** Reads the command line of a command for a running proxy. Throws {@link UsageError}. */
export function parseClientCommand (name: CommandName, args: readonly string[], env: NodeJS.ProcessEnv): ClientCommand {
  const shape = SHAPES[name]
  let parsed
  try {
    parsed = parseArgs({ args: [...args], options: flags, allowPositionals: true })
  } catch (error) {
    throw new UsageError((error as Error).message.split('. ')[0]!)
  }
  const { values } = parsed
  const positionals = values.config === undefined ? parsed.positionals : [...parsed.positionals, values.config]
  for (const flag of Object.keys(values)) {
    if (flag !== 'url' && !(shape.flags as readonly string[]).includes(flag)) throw new UsageError(`--${flag} does not go with '${name}': ${shape.usage}`)
  }
  if (positionals.length < shape.least || positionals.length > shape.most) throw new UsageError(`'${name}' is used so: headgate ${shape.usage}`)
  if (name === 'weight' && !/^\d+(\.\d+)?$/.test(positionals[1]!)) throw new UsageError(`the weight must be a number of 0–65535; it is '${positionals[1]!}'`)
  if (name === 'purge' && positionals.length === 0 && values.tag === undefined && values.all !== true) throw new UsageError(`'purge' is used so: headgate ${shape.usage}`)
  if ((name === 'close' || name === 'open') && (positionals.length === 0) !== (values.all === true)) throw new UsageError(`'${name}' is used so: headgate ${shape.usage}`)
  if (name === 'split') parseShares(positionals.slice(1), positionals.length > 0)
  const url = values.url ?? env['HEADGATE_ADMIN_URL'] ?? 'http://127.0.0.1:8080/headgate'
  if (!URL.canParse(url) || !/^https?:/.test(url)) throw new UsageError(`--url must be the address of the admin API, such as http://127.0.0.1:8080/headgate; it is '${url}'`)
  return {
    name, args: positionals, url, token: env['HEADGATE_ADMIN_TOKEN'], pool: values.pool, once: values.once ?? false, json: values.json ?? false,
    all: values.all ?? false, tags: values.tag ?? [], headers: values.header ?? [], reason: values.reason
  }
}

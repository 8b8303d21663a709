import type { Draft, DraftRule } from './draft.ts'
import type { Directive } from './nginx-parse.ts'

const show = ({ name, args }: Directive): string => [name, ...args].join(' ')

/** What a block says under a name; its last word counts. */
const said = (block: readonly Directive[], name: string): string | undefined => block.findLast((directive) => directive.name === name)?.args[0]

/** Where locations that are there for others lead: error pages in files, and shadow pools. */
export class Internals {
  readonly #locations: ReadonlyMap<string, Directive>
  readonly #root: string | undefined
  /** Locations that have been used, and need no rule. */
  readonly used: Set<Directive> = new Set()

  constructor (block: readonly Directive[]) {
    this.#locations = new Map(block.filter(({ name }) => name === 'location').map((location) => [location.args.at(-1) ?? '', location]))
    this.#root = said(block, 'root')
  }

  /** The file that nginx would send for a path. */
  file (path: string): string | undefined {
    const location = this.#locations.get(path)
    const root = (location === undefined ? undefined : said(location.block ?? [], 'root')) ?? this.#root
    if (root === undefined || location?.block?.some(({ name }) => name === 'proxy_pass' || name === 'return') === true) return undefined
    if (location !== undefined) this.used.add(location)
    return `${root.replace(/\/+$/, '')}${path}`
  }

  /** The address that a location passes on to, whatever is asked for. */
  pass (path: string): string | undefined {
    const location = this.#locations.get(path)
    const url = location === undefined ? undefined : said(location.block ?? [], 'proxy_pass')
    const [, address] = /^(https?:\/\/[^/$]+)(?:\$request_uri)?$/.exec(url ?? '') ?? []
    if (address !== undefined) this.used.add(location!)
    return address
  }
}

/** `error_page`: pages that come from files. */
export function errorPages (draft: Draft, directive: Directive, options: DraftRule, internals: Internals): void {
  const { args, line } = directive
  const target = args.at(-1) ?? ''
  const statuses = args.slice(0, -1).filter((word) => /^[45]\d\d$/.test(word))
  const [, status] = args.map((word) => /^=(\d{3})$/.exec(word)).find((found) => found !== null) ?? []
  const file = target.startsWith('/') ? internals.file(target) : undefined
  if (file === undefined || statuses.length === 0) {
    draft.note(line, show(directive), target.startsWith('@') ? 'named locations: see fallback' : 'error pages are files or texts: see errorPages')
    return
  }
  const pages = (options['errorPages'] ??= {}) as Record<string, unknown>
  for (const name of statuses) pages[name] = { file, ...status !== undefined && { status: Number(status) } }
  draft.note(line, show(directive), `${file} is read at the start, by browsers alone it is seen: programs get a problem document`)
}

import { readFile } from 'node:fs/promises'
import { extname } from 'node:path'
import { FileWatch } from '../file-watch.ts'
import type { Discovery, DiscoveryKind, DiscoverySite } from './contract.ts'
import { entriesOf, SameEntries } from './entries.ts'
import { timeSchema } from './options.ts'

export interface FileDiscoveryOptions {
  /** A `.json`, `.yaml` or `.yml` file with a list of upstreams, or with an object that has it as `upstreams`. */
  readonly path: string
  /**
   * Milliseconds between two looks at the file, 10–3,600,000. Changes are seen at once where the system tells of them; not all file
   * systems do. @default 5000
   */
  readonly interval?: number
}

/** Milliseconds in which a program that writes in place may finish. */
const SETTLE = 20

/** Replace the file as a whole: write another one beside it and rename that. */
class FileDiscovery implements Discovery {
  readonly name = 'file'
  readonly #options: FileDiscoveryOptions
  readonly #same = new SameEntries()
  #text: string | undefined
  #complaint = ''

  constructor (options: FileDiscoveryOptions) {
    this.#options = options
  }

  async start (site: DiscoverySite): Promise<void> {
    if (site.signal.aborted) return
    const { path, interval = 5000 } = this.#options
    let looked = Promise.resolve()
    const look = (): Promise<void> => looked = looked.then(() => this.#look(site))
    // Before the first look, so that a change during it is not missed.
    const watch = new FileWatch([path], { interval, settle: SETTLE, clock: site.environment.clock }, () => { void look() })
    site.signal.addEventListener('abort', () => { watch.stop() }, { once: true })
    await look()
  }

  async #look (site: DiscoverySite): Promise<void> {
    const { path } = this.#options
    try {
      const text = await readFile(path, 'utf8')
      if (text === this.#text && this.#complaint === '') return
      this.#text = text
      const members = this.#same.of(entriesOf(await this.#parse(text)))
      this.#complaint = ''
      site.update(members)
    } catch (error) {
      const complaint = `${path}: ${(error as Error).message}`
      if (complaint !== this.#complaint) site.failed(new Error(complaint))
      this.#complaint = complaint
    }
  }

  async #parse (text: string): Promise<unknown> {
    if (extname(this.#options.path) === '.json') return JSON.parse(text) as unknown
    const { parse } = await import('yaml')
    return parse(text) as unknown
  }
}

/** A list in a file. */
export const file: DiscoveryKind<FileDiscoveryOptions> = {
  type: 'file',
  describe: 'A list in a JSON or YAML file, which is watched.',
  properties: { path: { type: 'string', pattern: '\\.(json|ya?ml)$' }, interval: timeSchema(10, 3_600_000) },
  required: ['path'],
  keepWhenEmpty: false,
  create: (options) => new FileDiscovery(options)
}

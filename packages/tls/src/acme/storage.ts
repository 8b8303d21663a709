import { randomBytes } from 'node:crypto'
import { mkdir, open, readFile, rename, rm, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'

/** An order that takes longer belongs to a process that is gone. */
const LOCK = 600_000
const TOKEN = /^[\w-]{1,512}$/
const HOST = /^[a-z0-9_.-]{1,253}$/

const missing = (error: unknown): boolean => (error as NodeJS.ErrnoException).code === 'ENOENT'

/**
 * A folder that all processes share which serve the same hosts: one of them orders, all of them can answer the authority, and all
 * find what was issued. Files are for their owner alone, and written as a whole.
 */
export class AcmeStorage {
  readonly folder: string

  constructor (folder: string) {
    this.folder = folder
  }

  async prepare (): Promise<void> {
    for (const name of ['certificates', 'challenges', 'alpn']) await mkdir(join(this.folder, name), { recursive: true, mode: 0o700 })
  }

  /** Key and certificates in one file, so that they always fit. */
  certificateFile (name: string): string {
    return join(this.folder, 'certificates', `${name}.pem`)
  }

  /** The account's key at one authority; `create` makes one that nobody else has made meanwhile. */
  async accountKey (authority: string, create: () => Promise<Buffer>): Promise<Buffer> {
    const file = join(this.folder, `account-${authority}.key`)
    const known = await read(file)
    if (known !== undefined) return known
    try {
      await writeFile(file, await create(), { mode: 0o600, flag: 'wx' })
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error
    }
    return readFile(file)
  }

  async saveCertificate (name: string, pem: string): Promise<void> {
    await this.#write(this.certificateFile(name), pem)
  }

  async saveToken (token: string, text: string): Promise<void> {
    if (!TOKEN.test(token)) throw new Error('the authority sent a token that is none')
    await this.#write(join(this.folder, 'challenges', token), text)
  }

  async dropToken (token: string): Promise<void> {
    if (TOKEN.test(token)) await rm(join(this.folder, 'challenges', token), { force: true })
  }

  /** What HTTP-01 wants to read; `undefined` for unknown tokens. */
  async token (token: string): Promise<string | undefined> {
    return TOKEN.test(token) ? (await read(join(this.folder, 'challenges', token)))?.toString() : undefined
  }

  async saveProof (host: string, pem: string): Promise<void> {
    await this.#write(this.#proofFile(host), pem)
  }

  async dropProof (host: string): Promise<void> {
    await rm(this.#proofFile(host), { force: true })
  }

  /** Key and certificate that TLS-ALPN-01 wants to see; `undefined` when none is asked for. `host` in lower case. */
  async proof (host: string): Promise<Buffer | undefined> {
    return HOST.test(host) ? read(this.#proofFile(host)) : undefined
  }

  /** One process orders at a time. `undefined`: another one does. Else what gives it back. */
  async lock (name: string, now: number): Promise<(() => Promise<void>) | undefined> {
    const file = join(this.folder, `${name}.lock`)
    for (let attempt = 0; attempt < 2; attempt++) {
      try {
        await (await open(file, 'wx', 0o600)).close()
        return () => rm(file, { force: true })
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error
        try {
          if (now - (await stat(file)).mtimeMs < LOCK) return undefined
          await rm(file, { force: true })
        } catch (error) {
          if (!missing(error)) throw error
        }
      }
    }
    return undefined
  }

  #proofFile (host: string): string {
    return join(this.folder, 'alpn', `${host}.pem`)
  }

  async #write (file: string, text: string): Promise<void> {
    const own = `${file}.${randomBytes(6).toString('hex')}`
    await writeFile(own, text, { mode: 0o600, flag: 'wx' })
    await rename(own, file)
  }
}

async function read (file: string): Promise<Buffer | undefined> {
  try {
    return await readFile(file)
  } catch (error) {
    if (missing(error)) return undefined
    throw error
  }
}

import { randomBytes } from 'node:crypto'
import { mkdir, open, readFile, rename, rm, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'

/** An order that takes longer belongs to a process that is gone. */
export const LOCK = 600_000
const TOKEN = /^[\w-]{1,512}$/
const HOST = /^[a-z0-9_.-]{1,253}$/

/** A name that the authority chose, and one that a client did: neither leads out of the storage. */
export const isToken = (token: string): boolean => TOKEN.test(token)
export const isHost = (host: string): boolean => HOST.test(host)

/** What all processes share which serve the same hosts: one of them orders, all can answer the authority, and all find what was issued. */
export interface CertificateStorage {
  prepare (): Promise<void>
  /** Key and certificates in one PEM, so that they always fit; `undefined` when there are none yet. */
  certificate (name: string): Promise<Buffer | undefined>
  saveCertificate (name: string, pem: string): Promise<void>
  /** The account's key at one authority; `create` makes one that nobody else has made meanwhile. */
  accountKey (authority: string, create: () => Promise<Buffer>): Promise<Buffer>
  saveToken (token: string, text: string): Promise<void>
  dropToken (token: string): Promise<void>
  /** What HTTP-01 wants to read; `undefined` for unknown tokens. */
  token (token: string): Promise<string | undefined>
  saveProof (host: string, pem: string): Promise<void>
  dropProof (host: string): Promise<void>
  /** Key and certificate that TLS-ALPN-01 wants to see; `undefined` when none is asked for. `host` in lower case. */
  proof (host: string): Promise<Buffer | undefined>
  /** One process orders at a time. `undefined`: another one does. Else what gives it back. `now`: milliseconds since the Unix epoch. */
  lock (name: string, now: number): Promise<(() => Promise<void>) | undefined>
}

const missing = (error: unknown): boolean => (error as NodeJS.ErrnoException).code === 'ENOENT'

/** A folder of one machine, or of several that mount it. Files are for their owner alone, and written as a whole. */
export class AcmeStorage implements CertificateStorage {
  readonly folder: string

  constructor (folder: string) {
    this.folder = folder
  }

  async prepare (): Promise<void> {
    for (const name of ['certificates', 'challenges', 'alpn']) await mkdir(join(this.folder, name), { recursive: true, mode: 0o700 })
  }

  certificate (name: string): Promise<Buffer | undefined> {
    return read(this.certificateFile(name))
  }

  certificateFile (name: string): string {
    return join(this.folder, 'certificates', `${name}.pem`)
  }

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
    if (!isToken(token)) throw new Error('the authority sent a token that is none')
    await this.#write(join(this.folder, 'challenges', token), text)
  }

  async dropToken (token: string): Promise<void> {
    if (isToken(token)) await rm(join(this.folder, 'challenges', token), { force: true })
  }

  async token (token: string): Promise<string | undefined> {
    return isToken(token) ? (await read(join(this.folder, 'challenges', token)))?.toString() : undefined
  }

  async saveProof (host: string, pem: string): Promise<void> {
    await this.#write(this.#proofFile(host), pem)
  }

  async dropProof (host: string): Promise<void> {
    await rm(this.#proofFile(host), { force: true })
  }

  async proof (host: string): Promise<Buffer | undefined> {
    return isHost(host) ? read(this.#proofFile(host)) : undefined
  }

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

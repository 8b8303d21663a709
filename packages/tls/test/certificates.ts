import { execFileSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

export interface Pair {
  readonly cert: string
  readonly key: string
  /** Paths of both. */
  readonly files: { readonly cert: string; readonly key: string }
}

type Test = { teardown (action: () => unknown): void }

const algorithm = (rsa: boolean): string[] => rsa ? ['rsa:2048'] : ['ec', '-pkeyopt', 'ec_paramgen_curve:P-256']

/** A certificate authority of openssl's in a folder of its own, which goes with the test. */
export class Authority {
  readonly folder: string
  readonly ca: string
  #serial = 0

  constructor (t: Test, name = 'Test CA', { rsa = false } = {}) {
    this.folder = mkdtempSync(join(tmpdir(), 'headgate-tls-'))
    t.teardown(() => { rmSync(this.folder, { recursive: true, force: true }) })
    this.#openssl('req', '-x509', '-newkey', ...algorithm(rsa), '-nodes', '-keyout', 'ca.key', '-out', 'ca.pem', '-days', '3650', '-subj', `/CN=${name}`)
    this.ca = this.read('ca.pem')
    writeFileSync(this.path('index.txt'), '')
    writeFileSync(this.path('index.txt.attr'), 'unique_subject = no\n')
    writeFileSync(this.path('crlnumber'), '01\n')
    writeFileSync(this.path('ca.cnf'), `[ca]\ndefault_ca = own\n[own]\ndatabase = ${this.path('index.txt')}\ncrlnumber = ${this.path('crlnumber')}\ncertificate = ${this.path('ca.pem')}\nprivate_key = ${this.path('ca.key')}\ndefault_md = sha256\ndefault_crl_days = 30\n`)
  }

  path (name: string): string { return join(this.folder, name) }
  read (name: string): string { return readFileSync(this.path(name), 'utf8') }

  /** Issues a certificate. `extensions`: lines of openssl's extension file. */
  issue (hosts: readonly string[], { days = 365, rsa = false, subject = `/CN=${hosts[0] ?? 'nobody'}`, extensions = [] as string[] } = {}): Pair {
    const id = `c${++this.#serial}`
    this.#openssl('req', '-newkey', ...algorithm(rsa), '-nodes', '-keyout', `${id}.key`, '-out', `${id}.csr`, '-subj', subject)
    const names = hosts.map((host) => /^[\d.]+$/.test(host) ? `IP:${host}` : `DNS:${host}`)
    writeFileSync(this.path(`${id}.ext`), [...names.length > 0 ? [`subjectAltName=${names.join(',')}`] : [], ...extensions].join('\n'))
    this.#openssl('x509', '-req', '-in', `${id}.csr`, '-CA', 'ca.pem', '-CAkey', 'ca.key', '-set_serial', String(1000 + this.#serial), '-days', String(days), '-extfile', `${id}.ext`, '-out', `${id}.pem`)
    const pair = { cert: this.read(`${id}.pem`), key: this.read(`${id}.key`) }
    // Not to be seen among the options that the pair is passed as.
    return Object.defineProperty(pair, 'files', { value: { cert: this.path(`${id}.pem`), key: this.path(`${id}.key`) } }) as Pair
  }

  /** A revocation list with these in it. */
  revoke (...pairs: Pair[]): string {
    for (const { files } of pairs) this.#openssl('ca', '-config', 'ca.cnf', '-revoke', files.cert)
    this.#openssl('ca', '-config', 'ca.cnf', '-gencrl', '-out', 'crl.pem')
    return this.read('crl.pem')
  }

  #openssl (...args: string[]): void {
    execFileSync('openssl', args, { cwd: this.folder, stdio: ['ignore', 'ignore', 'pipe'] })
  }
}

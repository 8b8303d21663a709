// Certificates for the example: an authority of its own, and one certificate for each site. Real sites get theirs elsewhere, or by
// `acme` (docs/tls.md).
import { execFileSync } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'

/** Writes ca.pem and NAME.pem with NAME.key for each NAME into a folder; needs the command `openssl`. */
export function makeCertificates (folder, names) {
  const openssl = (...args) => execFileSync('openssl', args, { cwd: folder, stdio: ['ignore', 'ignore', 'pipe'] })
  const key = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes']
  openssl('req', '-x509', ...key, '-keyout', 'ca.key', '-out', 'ca.pem', '-days', '30', '-subj', '/CN=Example authority')
  for (const name of names) {
    openssl('req', ...key, '-keyout', `${name}.key`, '-out', `${name}.csr`, '-subj', `/CN=${name}.example`)
    writeFileSync(join(folder, `${name}.ext`), `subjectAltName=DNS:${name}.example`)
    openssl('x509', '-req', '-in', `${name}.csr`, '-CA', 'ca.pem', '-CAkey', 'ca.key', '-CAcreateserial', '-days', '30', '-extfile', `${name}.ext`, '-out', `${name}.pem`)
  }
}

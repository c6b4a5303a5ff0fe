package postgres

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/des" // old keys are encrypted with it; nothing new is
	"crypto/pbkdf2"
	"crypto/sha1" // the default of the format
	"crypto/sha256"
	"crypto/sha512"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"fmt"
	"hash"
	"strings"

	"source-postgres/protocol"
	"source-postgres/source/config"
)

// keyPair makes the client's certificate and key usable; the error is a *protocol.Error that holds nothing of either.
func keyPair(t config.TLS) (*tls.Certificate, error) {
	key, err := decryptKey([]byte(t.Key), []byte(t.KeyPassword))
	if err != nil {
		return nil, keyError("ssl_mode.client_key", "ssl_mode.client_key_password", err)
	}
	pair, err := tls.X509KeyPair([]byte(t.Certificate), key)
	if err != nil {
		return nil, &protocol.Error{
			Kind:    protocol.Config,
			Message: `Settings "ssl_mode.client_certificate" and "ssl_mode.client_key" cannot be used together.`,
			Hint:    "Both must be whole PEM texts, and the key must be the one the certificate was made for.", Err: err,
		}
	}
	return &pair, nil
}

var (
	errNoPEM       = errors.New("it holds no private key in PEM form")
	errNoPassword  = errors.New("it is encrypted, and no password is given")
	errBadPassword = errors.New("it cannot be decrypted with the password given")
	errCipher      = errors.New("it is encrypted in a way that is not supported")
)

// keyError words one of the errors above for the setting that holds the key.
func keyError(setting, password string, err error) error {
	hint := "Paste the whole text of the private key file, with its BEGIN and END lines."
	switch {
	case errors.Is(err, errNoPassword), errors.Is(err, errBadPassword):
		hint = fmt.Sprintf("Give the key's password in %q.", password)
	case errors.Is(err, errCipher):
		hint = "Write it anew with: openssl pkcs8 -topk8 -v2 aes-256-cbc -in old.key -out new.key"
	}
	return &protocol.Error{
		Kind: protocol.Config, Hint: hint, Err: err,
		Message: fmt.Sprintf("The private key in %q cannot be read: %s.", setting, err),
	}
}

// decryptKey gives the first private key in text as unencrypted PEM. Encrypted keys may be in the old PEM form
// (Proc-Type: 4,ENCRYPTED) or PKCS#8 (ENCRYPTED PRIVATE KEY).
func decryptKey(text, password []byte) ([]byte, error) {
	for {
		var block *pem.Block
		block, text = pem.Decode(text)
		switch {
		case block == nil:
			return nil, errNoPEM
		case !strings.HasSuffix(block.Type, "PRIVATE KEY"):
			continue // "EC PARAMETERS" and certificates may stand before the key
		case block.Type == "ENCRYPTED PRIVATE KEY":
			der, err := decryptPKCS8(block.Bytes, password)
			if err != nil {
				return nil, err
			}
			return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), nil
		case x509.IsEncryptedPEMBlock(block): //nolint:staticcheck // deprecated as weak; people still have such keys
			if len(password) == 0 {
				return nil, errNoPassword
			}
			der, err := x509.DecryptPEMBlock(block, password) //nolint:staticcheck // as above
			if err != nil {
				return nil, errBadPassword
			}
			return pem.EncodeToMemory(&pem.Block{Type: block.Type, Bytes: der}), nil
		}
		return pem.EncodeToMemory(block), nil
	}
}

// What follows decodes EncryptedPrivateKeyInfo with PBES2 and PBKDF2 (RFC 8018, A.4), which is what OpenSSL has
// written by default since 1.1:
//
//	SEQUENCE { SEQUENCE { OID pbes2, SEQUENCE { kdf AlgorithmIdentifier, cipher AlgorithmIdentifier } }, OCTET STRING }
var (
	oidPBES2  = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 5, 13}
	oidPBKDF2 = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 5, 12}

	keyHashes = map[string]func() hash.Hash{
		"":                    sha1.New, // absent means HMAC-SHA1
		"1.2.840.113549.2.7":  sha1.New,
		"1.2.840.113549.2.9":  sha256.New,
		"1.2.840.113549.2.10": sha512.New384,
		"1.2.840.113549.2.11": sha512.New,
	}
	keyCiphers = map[string]struct {
		size int
		make func([]byte) (cipher.Block, error)
	}{
		"1.2.840.113549.3.7":      {24, des.NewTripleDESCipher},
		"2.16.840.1.101.3.4.1.2":  {16, aes.NewCipher},
		"2.16.840.1.101.3.4.1.22": {24, aes.NewCipher},
		"2.16.840.1.101.3.4.1.42": {32, aes.NewCipher},
	}
)

// maxRounds bounds the work that a key file may demand; OpenSSL's default is 2048.
const maxRounds = 100_000_000

func decryptPKCS8(der, password []byte) ([]byte, error) {
	if len(password) == 0 {
		return nil, errNoPassword
	}
	var info struct {
		Algorithm pkix.AlgorithmIdentifier
		Data      []byte
	}
	if _, err := asn1.Unmarshal(der, &info); err != nil {
		return nil, errNoPEM
	}
	var scheme struct{ KDF, Cipher pkix.AlgorithmIdentifier }
	if !info.Algorithm.Algorithm.Equal(oidPBES2) {
		return nil, errCipher
	}
	if _, err := asn1.Unmarshal(info.Algorithm.Parameters.FullBytes, &scheme); err != nil {
		return nil, errNoPEM
	}
	c, known := keyCiphers[scheme.Cipher.Algorithm.String()]
	if !known {
		return nil, errCipher
	}
	key, err := deriveKey(scheme.KDF, password, c.size)
	if err != nil {
		return nil, err
	}
	block, err := c.make(key)
	if err != nil {
		return nil, errCipher
	}
	iv := scheme.Cipher.Parameters.Bytes
	if len(iv) != block.BlockSize() || len(info.Data) == 0 || len(info.Data)%block.BlockSize() != 0 {
		return nil, errNoPEM
	}
	plain := make([]byte, len(info.Data))
	cipher.NewCBCDecrypter(block, iv).CryptBlocks(plain, info.Data)
	// A wrong password shows in the padding or, one time in 256, in what is no key.
	pad := int(plain[len(plain)-1])
	if pad == 0 || pad > block.BlockSize() || pad > len(plain) {
		return nil, errBadPassword
	}
	plain = plain[:len(plain)-pad]
	if _, err := x509.ParsePKCS8PrivateKey(plain); err != nil {
		return nil, errBadPassword
	}
	return plain, nil
}

func deriveKey(kdf pkix.AlgorithmIdentifier, password []byte, size int) ([]byte, error) {
	var p struct {
		Salt   []byte
		Rounds int
		Size   int                      `asn1:"optional"`
		PRF    pkix.AlgorithmIdentifier `asn1:"optional"`
	}
	if !kdf.Algorithm.Equal(oidPBKDF2) {
		return nil, errCipher
	}
	if _, err := asn1.Unmarshal(kdf.Parameters.FullBytes, &p); err != nil {
		return nil, errCipher
	}
	newHash, known := keyHashes[p.PRF.Algorithm.String()]
	if !known || p.Rounds < 1 || p.Rounds > maxRounds {
		return nil, errCipher
	}
	return pbkdf2.Key(newHash, string(password), p.Salt, p.Rounds, size)
}

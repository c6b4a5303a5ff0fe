// Package state knows where a sync stopped: what a state says, how it is read and how it is written. States are
// written in the version-2 shapes of Airbyte's connector; keys that only this connector knows stand beside its own.
package state

// Chartcheck lints a Helm chart by Helm's own rules and renders it with many values, all in one process; each object must
// decode strictly into the Kubernetes API's Go types. It reads {chart, cases: [{name, values, show}]} on stdin, and writes
// {lint, cases: [{name, error, manifests}]}; manifests only where show asks for them.
package main

import (
	"encoding/json"
	"fmt"
	"log"
	"os"

	"helm.sh/helm/v4/pkg/chart/common"
	"helm.sh/helm/v4/pkg/chart/common/util"
	"helm.sh/helm/v4/pkg/chart/v2"
	"helm.sh/helm/v4/pkg/chart/v2/lint"
	"helm.sh/helm/v4/pkg/chart/v2/lint/support"
	"helm.sh/helm/v4/pkg/chart/v2/loader"
	"helm.sh/helm/v4/pkg/engine"
)

type asked struct {
	Chart string     `json:"chart"`
	Cases []askedFor `json:"cases"`
}

type askedFor struct {
	Name   string         `json:"name"`
	Values map[string]any `json:"values"`
	Show   bool           `json:"show"`
}

type answer struct {
	Lint  []string `json:"lint"`
	Cases []found  `json:"cases"`
}

type found struct {
	Name      string            `json:"name"`
	Error     string            `json:"error,omitempty"`
	Manifests map[string]string `json:"manifests,omitempty"`
}

var release = common.ReleaseOptions{Name: "vmlet", Namespace: "vmlet-system", Revision: 1, IsInstall: true}

func main() {
	log.SetFlags(0)
	var in asked
	if err := json.NewDecoder(os.Stdin).Decode(&in); err != nil {
		log.Fatal(err)
	}
	chart, err := loader.Load(in.Chart)
	if err != nil {
		log.Fatal(err)
	}
	out := answer{Lint: lintErrors(in.Chart)}
	for _, one := range in.Cases {
		out.Cases = append(out.Cases, check(chart, one))
	}
	if err := json.NewEncoder(os.Stdout).Encode(out); err != nil {
		log.Fatal(err)
	}
}

func lintErrors(chartPath string) []string {
	errors := []string{}
	for _, message := range lint.RunAll(chartPath, map[string]any{}, release.Namespace).Messages {
		if message.Severity > support.InfoSev {
			errors = append(errors, message.Error())
		}
	}
	return errors
}

func check(chart *v2.Chart, one askedFor) found {
	manifests, err := render(chart, one.Values)
	if err == nil {
		err = decodeAll(manifests)
	}
	result := found{Name: one.Name}
	if err != nil {
		result.Error = err.Error()
	}
	if one.Show {
		result.Manifests = manifests
	}
	return result
}

// render is what `helm template` does, values.schema.json included.
func render(chart *v2.Chart, values map[string]any) (map[string]string, error) {
	all, err := util.ToRenderValues(chart, values, release, common.DefaultCapabilities)
	if err != nil {
		return nil, fmt.Errorf("values: %w", err)
	}
	return engine.Render(chart, all)
}

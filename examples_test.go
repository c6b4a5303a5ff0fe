package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/xeipuuv/gojsonschema"
	"go.yaml.in/yaml/v3"

	"source-postgres/protocol"
)

// fitsSpec reports what spec.json has against settings.
func fitsSpec(t *testing.T, name string, config []byte) {
	t.Helper()
	text, err := os.ReadFile("spec.json")
	if err != nil {
		t.Fatal(err)
	}
	var spec struct {
		ConnectionSpecification json.RawMessage `json:"connectionSpecification"`
	}
	if err := json.Unmarshal(text, &spec); err != nil {
		t.Fatal(err)
	}
	schema := gojsonschema.NewBytesLoader(spec.ConnectionSpecification)
	result, err := gojsonschema.Validate(schema, gojsonschema.NewBytesLoader(config))
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	for _, e := range result.Errors() {
		t.Errorf("%s: %s", name, e)
	}
}

// fitsProtocol reports a catalog that the connector would not take.
func fitsProtocol(t *testing.T, name string, catalog []byte) {
	t.Helper()
	var c protocol.ConfiguredCatalog
	if err := json.Unmarshal(catalog, &c); err != nil || len(c.Streams) == 0 {
		t.Errorf("%s: %v; streams %v", name, err, c.Streams)
	}
}

func TestExamplesFitSpec(t *testing.T) {
	for _, mode := range []string{"full-refresh", "standard", "xmin", "cdc"} {
		for file, fits := range map[string]func(*testing.T, string, []byte){
			"config.json": fitsSpec, "catalog.json": fitsProtocol,
		} {
			name := filepath.Join("examples", mode, file)
			text, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			fits(t, name, text)
		}
	}
}

// documents reads the documents of a YAML file, each into the value that into gives for its kind. A key that the value
// does not know is an error.
func documents(t *testing.T, name string, into func(kind string) any) {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	loose, strict := yaml.NewDecoder(bytes.NewReader(text)), yaml.NewDecoder(bytes.NewReader(text))
	strict.KnownFields(true)
	for {
		var head struct{ Kind string }
		if err := loose.Decode(&head); errors.Is(err, io.EOF) {
			return
		} else if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if err := strict.Decode(into(head.Kind)); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
	}
}

// image is what the image of this version is called.
func image(t *testing.T) string {
	t.Helper()
	var m struct {
		Data struct {
			Repository string `yaml:"dockerRepository"`
			Tag        string `yaml:"dockerImageTag"`
		}
	}
	text, err := os.ReadFile("metadata.yaml")
	if err == nil {
		err = yaml.Unmarshal(text, &m)
	}
	if err != nil {
		t.Fatal(err)
	}
	return m.Data.Repository + ":" + m.Data.Tag
}

// The keys of the Compose specification that the example uses.
type composeService struct {
	Image, Build string
	Command      []string
	Environment  map[string]string
	Volumes      []string
	DependsOn    map[string]struct{ Condition string } `yaml:"depends_on"`
	Healthcheck  *struct {
		Test              []string
		Interval, Timeout string
		Retries           int
	}
}

func TestComposeFile(t *testing.T) {
	var file struct{ Services map[string]*composeService }
	documents(t, "examples/compose.yaml", func(string) any { return &file })
	db, connector := file.Services["db"], file.Services["connector"]
	if db == nil || connector == nil || db.Healthcheck == nil {
		t.Fatalf("services %v; want db, with a healthcheck, and connector", file.Services)
	}
	if connector.Image != image(t) || connector.DependsOn["db"].Condition != "service_healthy" {
		t.Errorf("connector: image %s, depends on %v", connector.Image, connector.DependsOn)
	}
	if !slices.Contains(db.Command, "wal_level=logical") {
		t.Errorf("db: command %q", db.Command)
	}
	places := map[string]string{}
	for _, s := range file.Services {
		for _, v := range s.Volumes {
			from, rest, _ := strings.Cut(v, ":")
			to, _, _ := strings.Cut(rest, ":")
			places[to] = filepath.Join("examples", from)
			if _, err := os.Stat(places[to]); err != nil {
				t.Errorf("volume %s: %v", v, err)
			}
		}
	}
	for _, arg := range connector.Command {
		if dir, name := filepath.Split(arg); dir != "" {
			if _, err := os.Stat(filepath.Join(places[filepath.Clean(dir)], name)); err != nil {
				t.Errorf("command %q: %v", connector.Command, err)
			}
		}
	}
	var config struct{ Host, Database, Password string }
	text, err := os.ReadFile(filepath.Join(places["/data"], "config.json"))
	if err == nil {
		err = json.Unmarshal(text, &config)
	}
	if err != nil || config.Host != "db" || config.Database != db.Environment["POSTGRES_DB"] {
		t.Errorf("settings of %+v for a database of %v: %v", config, db.Environment, err)
	}
}

type kubernetesMetadata struct{ Name string }

// A kubernetesData is a Secret or a ConfigMap.
type kubernetesData struct {
	APIVersion string `yaml:"apiVersion"`
	Kind, Type string
	Metadata   kubernetesMetadata
	Data       map[string]string
	StringData map[string]string `yaml:"stringData"`
}

// A kubernetesJob has the keys of batch/v1 Job that the example uses.
type kubernetesJob struct {
	APIVersion string `yaml:"apiVersion"`
	Kind       string
	Metadata   kubernetesMetadata
	Spec       struct {
		BackoffLimit *int `yaml:"backoffLimit"`
		Template     struct {
			Spec struct {
				RestartPolicy   string         `yaml:"restartPolicy"`
				SecurityContext map[string]any `yaml:"securityContext"`
				Containers      []struct {
					Name, Image     string
					Args            []string
					Resources       struct{ Requests, Limits map[string]string }
					SecurityContext map[string]any `yaml:"securityContext"`
					VolumeMounts    []struct {
						Name      string
						MountPath string `yaml:"mountPath"`
						ReadOnly  bool   `yaml:"readOnly"`
					} `yaml:"volumeMounts"`
				}
				Volumes []struct {
					Name   string
					Secret *struct {
						Name string `yaml:"secretName"`
					}
					ConfigMap *struct{ Name string } `yaml:"configMap"`
				}
			}
		}
	}
}

func TestKubernetesJob(t *testing.T) {
	objects := map[string]*kubernetesData{}
	var job kubernetesJob
	kinds := []string{}
	var data []*kubernetesData
	documents(t, "examples/kubernetes-job.yaml", func(kind string) any {
		kinds = append(kinds, kind)
		if kind == "Job" {
			return &job
		}
		data = append(data, &kubernetesData{})
		return data[len(data)-1]
	})
	for _, d := range data {
		objects[d.Kind+" "+d.Metadata.Name] = d
	}
	pod := job.Spec.Template.Spec
	if job.APIVersion != "batch/v1" || pod.RestartPolicy != "Never" || job.Spec.BackoffLimit == nil ||
		len(pod.Containers) != 1 {
		t.Fatalf("documents %q, job %+v", kinds, job)
	}
	container := pod.Containers[0]
	if container.Image != image(t) {
		t.Errorf("image %s, want %s", container.Image, image(t))
	}
	files := map[string]string{} // by their path in the container
	for _, mount := range container.VolumeMounts {
		for _, v := range pod.Volumes {
			var from *kubernetesData
			switch {
			case v.Name != mount.Name:
				continue
			case v.Secret != nil:
				from = objects["Secret "+v.Secret.Name]
			case v.ConfigMap != nil:
				from = objects["ConfigMap "+v.ConfigMap.Name]
			}
			if from == nil {
				t.Fatalf("volume %s is of nothing that the file has", v.Name)
			}
			for name, text := range from.Data {
				files[mount.MountPath+"/"+name] = text
			}
			for name, text := range from.StringData {
				files[mount.MountPath+"/"+name] = text
			}
		}
	}
	for i, arg := range container.Args {
		if !strings.HasPrefix(arg, "--") {
			continue
		}
		text, ok := files[container.Args[i+1]]
		if !ok {
			t.Errorf("%s: there is no file %s", arg, container.Args[i+1])
		}
		switch arg {
		case "--config":
			fitsSpec(t, arg, []byte(text))
		case "--catalog":
			fitsProtocol(t, arg, []byte(text))
		case "--state":
			if _, err := protocol.ParseStates([]byte(text)); err != nil {
				t.Errorf("%s: %v", arg, err)
			}
		}
	}
}

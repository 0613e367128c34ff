package backends

import (
	"cmp"
	"regexp"

	"github.com/mf-run/mf/diag"
	"github.com/mf-run/mf/ir"
)

// Project is what @project makes of a deployment.
type Project struct {
	Name string
	// Branch is "prod", "prod.<branch>", "test.<branch>" or "user.<user>".
	Branch string
	// FlowName is "<project>.<branch>.<flow>".
	FlowName   string
	UserBranch bool
	Production bool
}

var projectWord = regexp.MustCompile(`^[a-z0-9_]{1,128}$`)

// ProjectOf reads @project; nil when the flow has none. The options' branch and production win over the decorator's.
func ProjectOf(f *ir.Flow, opt Options) (*Project, diag.List) {
	said, ok := f.Project()
	if !ok {
		var l diag.List
		if opt.Branch != "" || opt.Production {
			l = diag.List{diag.Errorf(FlowSpan(f), "branch-without-project",
				"flow %s has no @project, so it has no branch and no production", f.Name).
				WithDetail("Leave out --branch and --production, or add @project(name=…).")}
		}
		return nil, l
	}
	span := f.Decorator("project").Span
	branch, production := cmp.Or(opt.Branch, said.Branch), opt.Production || said.Production
	var l diag.List
	if !projectWord.MatchString(said.Name) {
		l = append(l, diag.Errorf(span, "bad-project-name",
			"the project's name %q is not 1 to 128 of a-z, 0-9 and _", said.Name))
	}
	if branch != "" && !projectWord.MatchString(branch) {
		l = append(l, diag.Errorf(span, "bad-branch-name",
			"the branch's name %q is not 1 to 128 of a-z, 0-9 and _", branch))
	}
	if opt.Name != "" {
		l = append(l, diag.Errorf(span, "name-with-project",
			"flow %s belongs to project %s, which names its deployments; --name cannot", f.Name, said.Name).
			WithDetail("Use --branch to deploy it a second time."))
	}
	p := &Project{Name: said.Name, Production: production, UserBranch: branch == "" && !production}
	switch {
	case production && branch != "":
		p.Branch = "prod." + branch
	case production:
		p.Branch = "prod"
	case branch != "":
		p.Branch = "test." + branch
	default:
		p.Branch = "user." + opt.User
	}
	p.FlowName = p.Name + "." + p.Branch + "." + f.Name
	return p, l
}
